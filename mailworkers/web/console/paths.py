"""Where the console lives, and its cookies."""

CONSOLE = "/console"
LOGIN = f"{CONSOLE}/login"
STATIC = f"{CONSOLE}/static"
COOKIE = "mailworkers_console"
FLASH = "mailworkers_flash"


def cookie_header(name: str, value: str, *, seconds: int | None, is_secure: bool) -> str:
    """Return a Set-Cookie that scripts cannot read and other sites cannot send.

    None seconds: the cookie goes with the browser's session.
    """
    life = "" if seconds is None else f"; Max-Age={seconds}"
    secure = "; Secure" if is_secure else ""
    return f"{name}={value}; Path={CONSOLE}{life}; HttpOnly; SameSite=Strict{secure}"
