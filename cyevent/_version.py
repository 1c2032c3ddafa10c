"""The versions, read by the build too."""

__version__ = "0.1.0"

# Of the C headers; raised with each change to a struct's layout or a function's signature in them.
C_API_VERSION = 1
