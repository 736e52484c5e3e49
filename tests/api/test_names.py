"""What `import diffunet` offers to people who look for it with `dir` or the Tab key."""

import diffunet


def test_dir_shows_the_api_and_all_of_it_is_there():
    assert dir(diffunet) == sorted(diffunet.__all__)
    for name in dir(diffunet):
        assert getattr(diffunet, name) is not None
