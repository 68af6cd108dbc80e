"""Questions that an attacker would send to the route POST /videop2p/difference, and to the folder that the pack has
ComfyUI serve, /extensions/comfyui-videop2p: as bytes, each with the statuses that may come back (None: no answer).

Left out: an Origin or a Host with a port that is no number, which ComfyUI itself answers with status 500 before the
pack is asked, and file names longer than the system allows, which aiohttp answers so."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterator

from hypothesis import strategies as st

from ...tools.environment import ROOT
from ...tools.host import PACK
from ...tools.pack import host_path
from ...videop2p_core.host.prompts.difference_route import FIELDS, LARGEST, LONGEST, PATH

WEB = f"/extensions/{PACK}/"
JSON = {"Content-Type": "application/json"}
DEEP, DIGITS = LARGEST // 2 - 100, "9" * (LARGEST - 100)

METHODS = "GET", "HEAD", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND", "post", "X", "POST\t"
BESIDE = f"{PATH}/", f"/{PATH}", f"{PATH}/../x", f"{PATH}%00", f"{PATH}%2f", f"{PATH};x", PATH.upper(), "*", "x"
THERE = f"{PATH}?x=1", f"{PATH}?{'a' * 4000}", f"/api{PATH}"  # the last is how ComfyUI names every route as well
UP = (
    "../", "..%2f", "%2e%2e/", "%2e%2e%2f", "..%5c", "..\\", "%2e%2e%5c", "..%252f", "%252e%252e/", "....//", "..;/",
    "..%00/", "%c0%ae%c0%ae/", "%u002e%u002e/", ".%2e/", "docs/../../", "docs/..%2f..%2f", "//../", "%2f..%2f",
)  # fmt: skip
FILES = "nodes/invert.py", "__init__.py", "pyproject.toml", "../../host.log"
PLACES = (
    "/etc/passwd", "%2fetc%2fpasswd", "C:%5cWindows%5cwin.ini", "file:///etc/passwd", "\\\\host\\share", "~/x", "%00",
    "%ff", ".", "..", "docs", "docs/", "?", "*", "%", str(ROOT / "pyproject.toml"),
)  # fmt: skip
WITHOUT_LEAVE = "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"
TYPES = (
    None, *WITHOUT_LEAVE, "text/json", "*/*", "", "application/json\0", "text/plain; application/json",
    "application/jsonp", "json", "application", "\xff",
)  # fmt: skip
SAME_TYPE = "application/json; charset=klingon", "application/json; charset=utf-7", "APPLICATION/JSON"
NO_LENGTHS = "-1", "1e3", "0x2", "9" * 30, "+2", "2, 2", "2,3", "", "two", f"{LARGEST + 1}", f"{2**31}", f"{2**63}"
CHUNKS = (
    b"2\r\n{}\r\n0\r\n\r\n", b"ffffffff\r\n{}", b"-1\r\n{}\r\n0\r\n\r\n",
    b"2;" + b"x" * 9000 + b"\r\n{}\r\n0\r\n\r\n",
)  # fmt: skip
NO_TEXTS = "1e400", "-1e400", "NaN", "Infinity", "-0", DIGITS, f"{DIGITS}.0", f"1e{DIGITS}", "null", "true", "[]", "{}"
NESTED = (
    "[" * DEEP + "]" * DEEP, "[" * DEEP * 2, '{"edit":' * (DEEP // 5), '{"edit":' + "[" * DEEP + "]" * DEEP + "}",
)  # fmt: skip
NO_FIELDS = "__proto__", "__class__", "constructor", "source_prompt\\u0000", "SOURCE_PROMPT", ""
NEARLY_JSON = (
    "\ufeff{}", "{}\0", "{}{}", "// \n{}", "{'edit':''}", '{"edit":"\\x"}', '{"edit":"\\ud800"}', '{"edit":"\0"}',
    '{"edit":"x","edit":"auto"}',
)  # fmt: skip
ENCODINGS = "utf-16", "utf-32", "utf-16-le", "utf-7", "cp037", "utf-8-sig"
TEXTS = (
    "\ud800", "a\0b", "\u202ea", "{0.__class__}", "%s%n", "${7*7}", "'; import os", "(" * LONGEST, "a:" * 900,
    "<script>alert(1)</script>",
)  # fmt: skip
BY_A_PROXY = "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Forwarded", "X-Original-URL", "X-Rewrite-URL"
ALMOST = ["a", "cat", "(dog:1.2)", "embedding:", "embedding:../x", ",", ":", "(", ")", "\\", "blue: 2"]

Attack = tuple[bytes, tuple[int | None, ...]]


def request(body=b"{}", method="POST", path=PATH, headers: dict[str, str] | None = None, length=None) -> bytes:
    """A question as it goes over the wire, in whatever shape. headers: beside or instead of the usual."""
    length = len(body) if length is None else length
    lines = {"Host": "127.0.0.1", "Connection": "close", "Content-Length": str(length)} | JSON | (headers or {})
    head = "".join(f"{name}: {text}\r\n" for name, text in lines.items() if text is not None)
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body


def question(**fields) -> bytes:
    return json.dumps(fields).encode()


def elsewhere() -> Iterator[Attack]:
    """The route by other methods and under other names."""
    for method in METHODS:
        yield request(method=method), (400, 404, 405)
    for method in ("GET", "PUT"):
        yield request(method=method, headers={"X-HTTP-Method-Override": "POST"}), (404, 405)
    for path in BESIDE:
        yield request(path=path), (400, 403, 404, 405)
    for path in THERE:
        yield request(path=path), (200, 400)


def outside() -> Iterator[Attack]:
    """Files of the pack and of the machine, asked for through the folder that the pack has served."""
    for path in (f"{up}{file}{tail}" for up in UP for file in FILES for tail in ("", "%00.js", "?.js")):
        yield request(b"", "GET", WEB + path), (400, 403, 404)
    for path in PLACES:
        yield request(b"", "GET", WEB + path), (400, 403, 404)
        for method in ("PUT", "DELETE", "POST"):
            yield request(b"x", method, WEB + path), (400, 403, 404, 405)


def types(megabytes: int) -> Iterator[Attack]:
    """Questions that are no JSON as they come. megabytes: of what the compressed ones hold."""
    for kind in TYPES:
        yield request(headers={"Content-Type": kind}), (400, 415)
    for kind in SAME_TYPE:
        yield request(headers={"Content-Type": kind}), (200,)
    size = megabytes * 2**20
    for text in (question(edit="x" * size), b"[" * size, b'{"edit":' + b"1" * size, b"{}"):
        for encoding, packed in (("gzip", gzip.compress(text)), ("deflate", zlib.compress(text)), ("gzip", text[:999])):
            for written in (encoding, f"identity\r\nContent-Encoding: {encoding}"):
                yield request(packed, headers={"Content-Encoding": written}), (400, 413, 415)
    for encoding in ("br", "zstd", "klingon", "gzip, gzip", "", "identity"):
        yield request(headers={"Content-Encoding": encoding}), (400, 415)


def lengths() -> Iterator[Attack]:
    """Bodies that are not as long as they say, that do not say it, or that are too long."""
    for length in NO_LENGTHS:
        yield request(length=length), (400, 413)
    for length in (0, 1):  # fewer bytes than come
        yield request(length=length), (400,)
    for length in (3, 1000, LARGEST):  # more than ever will
        yield request(length=length), (400, None)
    yield request(headers={"Content-Length": None}), (400, 413)
    yield request(headers={"Content-Length": "2\r\nContent-Length: 30"}), (400,)
    for body in CHUNKS:
        for length in (None, "2"):
            yield request(body, headers={"Transfer-Encoding": "chunked", "Content-Length": length}), (400, 413)
    yield request(b"0\r\n\r\n", headers={"Transfer-Encoding": "gzip, chunked", "Content-Length": None}), (400, 413)
    for size in (LARGEST - 100, LARGEST, LARGEST + 1, 16 * LARGEST):
        yield request(question(subtract="x" * size)), (413,)


def bombs() -> Iterator[Attack]:
    """JSON that hurts whoever reads it carelessly, and texts that hurt whoever runs them."""
    for value in NO_TEXTS:
        for name in FIELDS:
            yield request(f'{{"{name}":{value}}}'.encode()), (400,)
        yield request(value.encode()), (200,) if value == "{}" else (400,)
    for text in NESTED:
        yield request(text.encode()), (400,)
    yield request(b"{" + b",".join(b'"%x":""' % i for i in range(5000)) + b"}"), (400,)
    for name in NO_FIELDS:
        yield request(f'{{"{name}":""}}'.encode()), (400,)
    for text in NEARLY_JSON:
        yield request(text.encode()), (200, 400)
    for encoding in ENCODINGS:
        yield request('{"edit": "auto"}'.encode(encoding)), (200, 400)
    for text in TEXTS:
        for name in FIELDS:
            yield request(question(**{name: text})), (200, 400)


def origins(port: int) -> Iterator[Attack]:
    """What a page of another site can have its visitor's browser send, and what a proxy might add. port: of ComfyUI."""
    here = {"Host": f"127.0.0.1:{port}"}
    others = "http://elsewhere.example", f"http://127.0.0.1:{port + 1}", "http://127.0.0.1.elsewhere.example"
    for origin in others:
        yield request(headers=here | {"Origin": origin}), (403,)
        forwarded = {"X-Forwarded-Host": "elsewhere.example", "Forwarded": "host=elsewhere.example"}
        yield request(headers=here | forwarded | {"Origin": origin}), (403,)
    yield request(headers=here | {"Sec-Fetch-Site": "cross-site"}), (403,)
    for origin in (*others, "null"):
        # These types come without leave. The right one does not, and whoever asks for leave gets an empty answer.
        for kind in WITHOUT_LEAVE:
            yield request(headers=here | {"Origin": origin, "Content-Type": kind}), (403, 415)
        leave = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
        yield request(b"", "OPTIONS", headers=here | leave | {"Origin": origin, "Content-Type": None}), (200, 403)
    for name in BY_A_PROXY:
        yield request(headers={name: "/etc/passwd"}), (200,)
    for text in ("elsewhere.example", "127.0.0.1.elsewhere.example", "", "a b", "\xff"):
        yield request(headers={"Host": text}), (200, 400)
    for headers in ({"X": "x" * 9000}, {"X": "a\r\n b"}, {f"X-{i}": "x" for i in range(500)}):
        yield request(headers=headers), (200, 400)


def files_elsewhere() -> list[str]:
    """Files that are there and that are no embeddings, as one of another folder might be named."""
    there = ROOT / "pyproject.toml"
    relative = os.path.relpath(there, host_path() / "models" / "embeddings")
    spelt = str(there), relative, relative.replace("/", "\\"), f"file://{there}", f"./{relative}", f"{there}\0.pt"
    near = "../../main.py", "../../main", "../checkpoints/put_checkpoints_here", "..", ".", "/", "~", "//etc/passwd"
    return [*spelt, *near, "put_embeddings_or_textual_inversion_concepts_here"]


def values():
    """Whatever JSON can hold."""
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
    return st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


def questions():
    """JSON that is nearly what is asked for, or anything else."""
    texts = st.lists(st.sampled_from(ALMOST) | st.text(max_size=8), max_size=30).map(" ".join) | st.text()
    kinds = st.sampled_from(["auto", "replace", "refine", ""])
    fields = st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, texts) | {"edit": kinds})
    odd = st.dictionaries(st.sampled_from(FIELDS) | st.text(), values(), max_size=8)
    return st.one_of(fields, fields, odd, values()).map(json.dumps).map(str.encode) | st.binary()
