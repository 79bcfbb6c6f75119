"""Who decides on a promotion or a rollback."""

from churn.errors import UserError
from churn.tracking import git_state, server_user


def decided_by(given: str) -> str:
    """Who decides: the user whose password the server has checked; without one --by, or git's user.

    Raises:
        UserError: --by is another one than the server's user.
    """
    verified = server_user.authenticated_user()
    if verified and given not in ("", verified):
        raise UserError(
            f"the server knows you as {verified}, and that is what the history says; leave "
            f"--by {given} out"
        )
    return verified or given or git_user()


def git_user() -> str:
    """The user's name as git has it, "" if it has none."""
    return git_state.git("config", "user.name", check=False).strip()
