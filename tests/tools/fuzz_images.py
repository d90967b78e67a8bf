"""Reads mutated image files: `python tests/tools/fuzz_images.py --count 20000 [--format PNG]`.

Of every allowed format, `count` files made from small valid ones of every mode, by a seed: bytes
flipped, cut off, spliced with another file, numbers of the header replaced, checksums made right
again. For each the reader must give an RGB array of the size asked for, or raise BadImage;
nothing else, within a time and within a memory. Each format is read in a process of its own, so
that a crash or a hang is seen, and the file that made it is kept.
"""

import argparse
import faulthandler
import json
import random
import resource
import struct
import subprocess
import sys
import tempfile
import time
import warnings
import zlib
from collections import Counter
from pathlib import Path

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
FILE_SECONDS = 60  # for one file; 64 megapixels in runs take 10 on a busy machine
MEMORY_BYTES = 1536 << 20  # most that the reading process may have held
SIZE = 16
_NUMBERS = (0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 24, 32, 64, 127, 128, 255, 256, 257, 1000, 4000,
            8192, 12000, 32767, 65535, 65536, 2**24 - 1, 2**31 - 1, 2**31, 2**32 - 1)  # fmt: skip


def mutated(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """Damages a file in one to three ways."""
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        kind = chance.choice(("flip", "flip", "cut", "splice", "header", "header", "repeat"))
        at = chance.randrange(len(out) or 1)
        if kind == "flip":
            for _ in range(chance.choice((1, 1, 2, 8))):
                if out:
                    out[chance.randrange(len(out))] ^= 1 << chance.randrange(8)
        elif kind == "cut":
            del out[at:]
        elif kind == "splice":
            other = chance.choice(others)
            out[at:] = other[chance.randrange(len(other)) :]
        elif kind == "header":
            number, form = chance.choice(_NUMBERS), chance.choice(("<I", ">I", "<H", ">H", "<B"))
            packed = struct.pack(form, number % 256 ** struct.calcsize(form))
            at = chance.randrange(min(len(out), 80) or 1)
            out[at : at + len(packed)] = packed
        else:
            out[at:at] = out[at : at + chance.randrange(1, 64)] * chance.choice((1, 2, 50))
    # Without this, most damage to a PNG would be answered by a checksum.
    return _with_checksums(bytes(out)) if chance.random() < 0.7 else bytes(out)


def _with_checksums(data: bytes) -> bytes:
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        return data
    out, at = bytearray(data), 8
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        end = at + 8 + length
        if end + 4 > len(data):
            break
        out[end : end + 4] = struct.pack(">I", zlib.crc32(data[at + 4 : end]))
        at = end + 4
    return bytes(out)


def read_all(name: str, count: int, seed: int, folder: Path) -> dict[str, int]:
    """Reads `count` mutated files; raises at the first that breaks the rule."""
    import numpy as np
    from support.image_files import seeds

    from sagan.files import images

    whole = seeds(name)
    path, found = folder / f"{name}.png", Counter()
    warnings.simplefilter("error")
    slowest = 0.0
    for number in range(count):
        chance = random.Random(f"{seed} {name} {number}")
        path.write_bytes(mutated(chance.choice(whole), whole, chance))
        faulthandler.dump_traceback_later(FILE_SECONDS, exit=True)
        begin = time.monotonic()
        try:
            got = images.fit(images.decode(path), SIZE)
            assert got.shape == (SIZE, SIZE, 3) and got.dtype == np.uint8, got.shape
            found["read"] += 1
        except images.BadImage as error:
            text = str(error)
            assert text.startswith(f"{path}: ") and "\n" not in text, text
            found["refused"] += 1
        slowest = max(slowest, time.monotonic() - begin)
        faulthandler.cancel_dump_traceback_later()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    assert peak < MEMORY_BYTES, f"{peak} bytes of memory at the most"
    return {**found, "slowest_ms": round(1000 * slowest), "peak_mib": peak >> 20}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=20000, help="files of each format")
    parser.add_argument("--format", choices=FORMATS, action="append")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent.parent))
    if args.folder:
        print(json.dumps(read_all(args.format[0], args.count, args.seed, args.folder)))
        return 0
    failed = False
    for name in args.format or FORMATS:
        folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
        words = ["--format", name, "--count", str(args.count), "--seed", str(args.seed)]
        done = subprocess.run(
            [sys.executable, __file__, *words, "--folder", str(folder)],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            failed = True
            kept = folder / f"{name}.png"
            print(f"{name}: FAILED with {done.returncode}; the file: {kept}\n{done.stderr[-3000:]}")
            continue
        print(f"{name}: {args.count} files: {done.stdout.strip()}")
        (folder / f"{name}.png").unlink()
        folder.rmdir()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
