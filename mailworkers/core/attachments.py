"""Attachments: a harmless filename, a checked type, the part's fields (RFC 2183, RFC 2231)."""

import re

import msgspec

from mailworkers.core.headers import (
    Field,
    MessageError,
    fold,
    parameter,
    refuse_controls,
    refuse_disguises,
)

MAX_FILENAME = 120  # characters: with three bytes each still under what file systems take
MAX_CONTENT_TYPE = 200

_TYPE_NAME = r"[A-Za-z0-9!#$&+.^_`{|}~-]{1,80}"
_QUOTED = r'"[A-Za-z0-9_ !#-&(-/:<>@]*"'
_CONTENT_TYPE = re.compile(
    rf"{_TYPE_NAME}/{_TYPE_NAME}(?: *; *{_TYPE_NAME}=(?:{_TYPE_NAME}|{_QUOTED}))*"
)
_COMPOSITE = ("multipart/", "message/")  # RFC 2046 section 5: these may not be base64
_OWN_PARAMETERS = re.compile(r"; *(?:name|filename|boundary)=", re.IGNORECASE)
_CONTENT_ID = re.compile(r"[A-Za-z0-9!#$%&'*+/^_`{|}~.@-]{1,128}")
_UNSAFE_IN_FILENAMES = str.maketrans(dict.fromkeys('/\\:*?"<>|', "_"))
_FILENAME_EDGES = re.compile(r"\A[\s.]+|[\s.]+\Z")
_DEVICE = re.compile(r"(?:CON|PRN|AUX|NUL|COM[0-9]|LPT[0-9])(?:\..*)?", re.IGNORECASE)


class Attachment(msgspec.Struct, frozen=True):
    """A file; with *content_id* (no angle brackets) and an html body it is shown inline."""

    filename: str
    content_type: str
    content: bytes
    content_id: str | None = None


def attachment_fields(attachment: Attachment, disposition: str) -> list[Field]:
    """Return the fields of the part for *attachment*, `inline` or `attachment`, in base64."""
    name = parameter("filename", clean_filename(attachment.filename))
    fields = [
        ("Content-Type", _content_type(attachment.content_type)),
        ("Content-Transfer-Encoding", "base64"),
        ("Content-Disposition", fold("Content-Disposition", [f"{disposition};", *name])),
    ]
    if attachment.content_id:
        fields.append(("Content-ID", _content_id(attachment.content_id)))
    return fields


def _content_type(content_type: str) -> str:
    """Return *content_type* checked; parameters that name or divide parts are ours to write."""
    refuse_controls("Content-Type", content_type)
    if not _CONTENT_TYPE.fullmatch(content_type) or len(content_type) > MAX_CONTENT_TYPE:
        raise MessageError("Content-Type", "write it as `type/subtype`")
    if content_type.lower().startswith(_COMPOSITE):
        raise MessageError("Content-Type", "an attachment cannot be multipart/* or message/*")
    if _OWN_PARAMETERS.search(content_type):
        raise MessageError("Content-Type", "name, filename and boundary cannot be given")
    return fold("Content-Type", re.split(r"(?<=;) +", re.sub(r" *; *", "; ", content_type)))


def _content_id(content_id: str) -> str:
    refuse_controls("Content-ID", content_id)
    if not _CONTENT_ID.fullmatch(content_id):
        raise MessageError("Content-ID", "1 to 128 letters, digits and .@_- without brackets")
    return f"<{content_id}>"


def clean_filename(filename: str) -> str:
    """Return *filename* so that no client takes it for a path, a device or a hidden file (X-14).

    Characters that some file system forbids become `_`, and a long name keeps its extension.

    Raises:
        HeaderInjection: it holds a control or bidi character.
    """
    refuse_disguises("filename", filename)
    name = _strip(filename.translate(_UNSAFE_IN_FILENAMES)) or "attachment"
    if _DEVICE.fullmatch(name):
        name = f"_{name}"
    if len(name) <= MAX_FILENAME:
        return name
    stem, dot, extension = name.rpartition(".")
    if not stem or len(extension) > 20:
        return _strip(name[:MAX_FILENAME])
    return f"{_strip(stem[: MAX_FILENAME - len(extension) - 1])}{dot}{extension}"


def _strip(name: str) -> str:
    return _FILENAME_EDGES.sub("", name)
