# docker build -t diffunet .
# docker run --rm --gpus all --ipc=host -v /data/diffunet:/workspace diffunet diffunet_train 1 0 --c
FROM python:3.12-slim-bookworm

# Triton builds a small program with a C compiler when a GPU is first used. Any version does.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*

# The wheel of torch on PyPI brings CUDA's libraries; the driver comes from the host.
COPY setup.py pyproject.toml constraints.txt README.md /source/
COPY diffunet /source/diffunet
RUN python -m pip install --no-cache-dir --constraint /source/constraints.txt /source

# Any user may run it (--user): its caches lie in the workspace, where that user can write.
ENV HOME=/workspace \
    diffunet_raw=/workspace/raw \
    diffunet_preprocessed=/workspace/preprocessed \
    diffunet_results=/workspace/results
WORKDIR /workspace
CMD ["diffunet_predict", "-h"]
