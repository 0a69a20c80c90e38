"""The errors that a user can fix."""


class SR4IRError(Exception):
    """An error that a user can fix; the message is one line with cause and fix.

    Every error of this kind also derives from a built-in exception, so that
    ``except ValueError`` catches it where a caller does not know this package. The
    command lines print the message without a traceback and exit with code 1.
    """


class ConfigError(SR4IRError, ValueError):
    """A setting of a config, or an option of a command line, cannot be used."""


class DataError(SR4IRError, ValueError):
    """Something is wrong with the data; the message names the file and the fix."""
