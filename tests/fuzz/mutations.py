"""Bytes that are nearly right: an example of a file, or of a line, changed at random places."""

from __future__ import annotations

import random

# what parsers stumble over: ends of their tokens, numbers beyond all types, what is no text
TOKENS = (
    b"\0",
    b"\xff",
    b"\xc3",
    b"\r",
    b"\n",
    b"\t",
    b" " * 40,
    b"#",
    b"#.\n",
    b"'",
    b'"',
    b"\\",
    b"`",
    b"$",
    b"${",
    b"}",
    b"${x}",
    b"${oc.env:HOME}",
    b"{",
    b"[",
    b"]",
    b"[" * 200,
    b"{a: " * 120,
    b"(",
    b")",
    b",",
    b":",
    b": ",
    b"=",
    b"==",
    b"?",
    b"???",
    b"!",
    b"!!python/object/apply:os.system [touch pwned]",
    b"!!bool x",
    b"!!int x",
    b"!!binary x",
    b"&a",
    b"*a",
    b"<<: ",
    b"%",
    b"@",
    b"~",
    b"-",
    b"--",
    b"---\n",
    b"...",
    b"/",
    b"../",
    b"\x1b[2J",
    b"\xe2\x80\xae",
    b"nan",
    b".inf",
    b"-.inf",
    b"NaN",
    b"Infinity",
    b"1e400",
    b"1e-400",
    b"0x",
    b"0o9",
    b"1_0",
    b"9" * 400,
    b"9" * 5000,
    b"-0",
    b"true",
    b"null",
    b"None",
    b"step",
    b"lr",
    b"=1",
    b"0:\n",
    b"1:",
    b"2026-02-30",
    b"1:60:61",
    b"<script>",
    b"%s%n",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
)
MOST_BYTES = 1 << 16


def mutated(examples: tuple[bytes, ...], draw: random.Random) -> bytes:
    """Return one example after one to eight changes: bytes taken out, doubled, replaced, moved, tokens put in."""
    data = bytearray(draw.choice(examples))
    for _ in range(draw.choice((1, 1, 2, 3, 8))):
        start = draw.randint(0, len(data))
        end = min(len(data), start + draw.choice((1, 1, 2, 5, 20, 200)))
        kind = draw.randrange(6)
        if kind == 0:
            del data[start:end]
        elif kind == 1:
            data[start:start] = data[start:end] * draw.choice((1, 2, 50))
        elif kind == 2:
            data[start:end] = draw.randbytes(end - start)
        elif kind == 3:
            other = draw.choice(examples)
            at = draw.randint(0, len(other))
            data[start:end] = other[at : at + 60]
        else:
            data[start : start if kind == 4 else end] = draw.choice(TOKENS)
    return bytes(data[:MOST_BYTES])
