"""Pictures from numbers and arrays: nothing here knows plans, datasets or networks."""
