"""What the user did wrong, and what is missing: one line each, with the remedy, and an exit code."""

INSTALL = "in kd-deploy's checkout: pip install -e '.[all]' (on a device '.[runtime]', on a Jetson see docs/jetson.md)"
"""The command that brings every library: kd-deploy is on no package index yet."""


class UserError(Exception):
    """The user's input is wrong; the message is one line that names the file, key or frame and the remedy.

    The command line prints it without a traceback and exits with `exit_code`. Any other exception is a
    bug and keeps its traceback.
    """

    exit_code = 1


class MissingComponentError(UserError):
    """A library or a device is missing; the message names it and the command that installs it."""

    exit_code = 3


class GateFailedError(UserError):
    """A deployed model does not do what its reference does; the message says by how much."""

    exit_code = 4
