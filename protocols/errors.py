"""The one error class of the project: input that a person has to mend.

Inner code raises `InputError` with a message that says where, what was found and what to do; the
command line prints it alone and exits with status 1. Anything else that escapes is a defect of ours.
"""


class InputError(Exception):
    """Input that cannot be used, with a message written for the person who has to mend it."""
