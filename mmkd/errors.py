"""The one error type that is the user's to mend."""


class UserError(ValueError):
    """Something in a config, a file or a command line is wrong.

    The message names the config key (or the file), the value found and what is
    allowed. The command-line tools print it as one line and exit with status 2.
    """
