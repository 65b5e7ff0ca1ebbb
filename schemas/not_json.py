"""What a body is that is not JSON, in the words of whoever sent it, with the place where it goes wrong.

It costs a look at the beginning of a body, and at no more than `SCANNED_BYTES_MAX` of it by token.
"""

import re
from typing import Final

import msgspec

from schemas.faults import Flaw, NotJson
from schemas.paths import Path, at

SCANNED_BYTES_MAX: Final = 8_192
DEPTH_MAX: Final = 16
MENDED_BYTES_MAX: Final = 65_536  # a larger body is not read again to find more
FLAWS_MAX: Final = 8
SEVERAL_DOCUMENTS: Final = "it is several JSON documents; send one event in each POST"
CONTEXT_BYTES: Final = 32

_BEGINNINGS: Final = (
    (b"\xef\xbb\xbf", "it begins with a byte-order mark (EF BB BF); send UTF-8 without one"),
    (b"\xff\xfe\0\0", "it is UTF-32; send UTF-8"),
    (b"\0\0\xfe\xff", "it is UTF-32; send UTF-8"),
    (b"\xff\xfe", "it is UTF-16; send UTF-8"),
    (b"\xfe\xff", "it is UTF-16; send UTF-8"),
    (b"\x1f\x8b", "it looks like gzip; add the header Content-Encoding: gzip"),
    (b"\x28\xb5\x2f\xfd", "it looks like Zstandard; send it unpacked, or as gzip with Content-Encoding: gzip"),
    (b"[object ", "it is the text that JavaScript makes of an object; send JSON.stringify(event)"),
    (b"<", "it looks like HTML or XML"),
    (b"--", "it looks like multipart/form-data; the body has to be the JSON itself"),
    (b"eyJ", "it looks like Base64; send the JSON as it is"),
)
_read_over = msgspec.json.Decoder(msgspec.Raw).decode  # makes no objects
_zlib = re.compile(rb"x[\x01\x5e\x9c\xda]").match
_form = re.compile(rb"[\w.+%\[\]-]{1,256}=").match
_position = re.compile(r" \(byte (\d+)\)$").search
_token = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{},:]', re.DOTALL)
_number = re.compile(rb"[+-]?(?:NaN|Infinity|inf\b|nan\b)")
_number_form = re.compile(rb"[+-]?(?:0\d|\.\d|\d+\.(?!\d)|\+)")
_word = re.compile(rb"[A-Za-z_$][\w$.]*+")
_colon = re.compile(rb"[ \t\r\n]*:").match
_huge_number = re.compile(rb"(?<![\d.])[\d.]++[eE]\+?\d{3,}|(?<!\d)\d{300,}")
_surrogate = re.compile(rb"\\u[dD][89a-fA-F]")
_WORDS: Final = {
    b"undefined": "`undefined` is not JSON; leave the key out",
    b"None": "`None` is Python; JSON has null",
    b"True": "`True` is Python; JSON has true",
    b"False": "`False` is Python; JSON has false",
    b"nil": "`nil` is not JSON; JSON has null",
}


def no_json(body: bytes, error: Exception) -> NotJson:
    """Return the refusal of a body that a JSON decoder refused with this error.

    Each `NaN` or `undefined` is named: reading goes on as if it were 0.
    """
    flaws = [_flaw(body, error)]
    mended: bytes | None = body
    while mended is not None and (token := flaws[-1].token) is not None:
        start, end = token
        mended = mended[:start] + b"0".ljust(end - start) + mended[end:]
        if len(flaws) == FLAWS_MAX or len(body) > MENDED_BYTES_MAX or start > SCANNED_BYTES_MAX:
            mended = None
            break
        try:
            _read_over(mended)
            break
        except (msgspec.MsgspecError, RecursionError, ValueError) as another:
            flaws.append(_flaw(mended, another))
    if mended is body or any(flaw.token is None or not flaw.path for flaw in flaws):
        mended = None
    said = "; ".join(dict.fromkeys(at(flaw.message, flaw.path) for flaw in flaws))
    return NotJson(f"the body is not JSON: {said}", flaws, mended)


def _flaw(body: bytes, error: Exception) -> Flaw:
    text = body[:SCANNED_BYTES_MAX].lstrip(b" \t\r\n")
    if not text and len(body) <= SCANNED_BYTES_MAX:
        return Flaw("it is empty; send one event, a JSON object")
    for beginning, meaning in _BEGINNINGS:
        if text.startswith(beginning):
            return Flaw(meaning)
    if _zlib(text):
        return Flaw("it looks like zlib; send it unpacked, or as gzip with Content-Encoding: gzip")
    if b"\0" in text[:2]:
        return Flaw("it looks like UTF-16 without its mark; send UTF-8")
    if _form(text):
        has_json = b"%7B" in text or b"%7b" in text or b"{" in text
        inside = " with JSON in one of its fields" if has_json else ""
        return Flaw(f"it looks like a form{inside}; the body has to be the JSON itself")
    if isinstance(error, UnicodeDecodeError):
        return _not_utf8(body)
    reason = str(error).removeprefix("JSON is malformed: ")
    if found := _position(reason):
        return _at_byte(body, int(found[1]), reason)
    return _without_position(body, reason)


def _not_utf8(body: bytes) -> Flaw:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        position = error.start
    else:
        return Flaw("it is not UTF-8")
    byte = body[position]
    around = body[max(0, position - 1) : position + 2]
    is_one_letter = byte >= 0xA0 and sum(part >= 0x80 for part in around) == 1
    looks = "looks like Latin-1 or Windows-1252" if is_one_letter else "is not UTF-8"
    return Flaw(f"byte {position} ({byte:02X}) {looks}; send UTF-8", place(body, position))


def _at_byte(body: bytes, position: int, reason: str) -> Flaw:
    """Return what is wrong at a position, which may be one too far."""
    for start in (position - 1, position):
        if start >= 0 and (number := _number.match(body, start)):
            message = f"`{number[0].decode()}` is not a number in JSON; leave the key out, or send a number"
            return Flaw(message, place(body, position), number.span())
    rest = body[position : position + CONTEXT_BYTES]
    if reason.startswith("trailing characters"):
        if body[max(0, position - 1) : position + 1].lstrip()[:1] in (b"{", b"["):
            return Flaw(SEVERAL_DOCUMENTS)
        return Flaw(f"something follows the end of the JSON document, at byte {position - 1}")
    if (word := _word.match(body, position)) and word[0] in _WORDS and not _colon(body, word.end()):
        return Flaw(_WORDS[word[0]], place(body, position), word.span())
    return Flaw(_what_is_there(body, position, rest, reason), place(body, position))


def _what_is_there(body: bytes, position: int, rest: bytes, reason: str) -> str:
    if rest.startswith((b"//", b"/*", b"#")):
        return "JSON has no comments"
    if rest.startswith(b"'"):
        return "strings and keys have double quotation marks in JSON, not single ones"
    if reason.startswith("trailing comma"):
        return f"JSON has no comma before `{rest[:1].decode()}`"
    if rest and rest[0] < 0x20:
        return f"a control character in a string has to be written as \\u{rest[0]:04x}"
    if _number_form.match(body, position) or reason.startswith("invalid number"):
        return "a number in JSON begins and ends with a digit, and not with an extra 0"
    if "surrogate" in reason:
        return "half of a surrogate pair is not a character"
    return "strings and keys have double quotation marks in JSON" if _word.match(rest) else reason


def _without_position(body: bytes, reason: str) -> Flaw:
    if "out of range" in reason:
        huge = _huge_number.search(body, 0, SCANNED_BYTES_MAX)
        return Flaw("a number is too large", place(body, huge.start()) if huge else ())
    if "truncated" in reason:
        if surrogate := _surrogate.search(body, 0, SCANNED_BYTES_MAX):
            return Flaw("half of a surrogate pair is not a character", place(body, surrogate.start()))
        message = "it ends too early; an object, an array or a string is not closed"
        return Flaw(message, place(body, len(body)))
    return Flaw(reason)


def place(body: bytes, position: int) -> Path:
    """Return the keys and indexes that lead to a position in JSON; () if it is too far in, or too deep."""
    if position > SCANNED_BYTES_MAX:
        return ()
    path: list[str | int | None] = []
    text = b""
    for token in _token.finditer(body, 0, position):
        sign = token[0][:1]
        inner = path[-1] if path else None
        if sign == b'"':
            text = token[0]
        elif sign in (b"{", b"["):
            path.append(None if sign == b"{" else 0)
            if len(path) > DEPTH_MAX:
                return ()
        elif sign == b"," and path:
            path[-1] = inner + 1 if isinstance(inner, int) else None
        elif sign == b":" and path and not isinstance(inner, int):
            path[-1] = text.strip(b'"').decode("utf-8", "replace")
        elif sign in (b"}", b"]"):
            if not path:
                return ()
            path.pop()
    return tuple(part for part in path if part is not None)
