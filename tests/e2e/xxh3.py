"""XXH3-64 (seed 0) of inputs over 240 bytes, written from the specification, so that the daemon's checksums are judged
by something that does not come from the daemon."""

import struct

MASK = (1 << 64) - 1
P32_1, P32_2, P32_3 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D
P64_1, P64_2, P64_3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
P64_4, P64_5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
STRIPE, BLOCK = 64, 1024
SECRET = bytes.fromhex("""
    b8fe6c3923a44bbe7c01812cf721ad1c ded46de9839097db7240a4a4b7b3671f cb79e64eccc0e578825ad07dccff7221
    b8084674f743248ee03590e6813a264c 3c2852bb91c300cb88d0658b1b532ea3 71644897a20df94e3819ef46a9deacd8
    a8fa763fe39c343ff9dcbbc7c70b4f1d 8a51e04bcdb45931c89f7ec9d9787364 eac5ac8334d3ebc3c581a0fffa1363eb
    170ddd51b7f0da49d316552629d4689e 2b16be587d47a1fc8ff8b8d17ad031ce 45cb3a8f95160428afd7fbcabb4b407e
    """)


def _words(data, at, count):
    return struct.unpack_from(f"<{count}Q", data, at)


KEYS = [_words(SECRET, 8 * n, 8) for n in range(16)]
SCRAMBLE = _words(SECRET, 128, 8)
LAST = _words(SECRET, 192 - 64 - 7, 8)
MERGE = _words(SECRET, 11, 8)


def _accumulate(sums, words, keys):
    for i in range(8):
        word = words[i]
        key = word ^ keys[i]
        sums[i ^ 1] = (sums[i ^ 1] + word) & MASK
        sums[i] = (sums[i] + (key & 0xFFFFFFFF) * (key >> 32)) & MASK


def digest(data):
    """64-bit hash of bytes; len(data) > 240."""
    if len(data) <= 240:
        raise ValueError("only the long form is here")
    sums = [P32_3, P64_1, P64_2, P64_3, P64_4, P32_2, P64_5, P32_1]
    stripes = (len(data) - 1) // STRIPE
    for n in range(stripes):
        _accumulate(sums, _words(data, n * STRIPE, 8), KEYS[n % 16])
        if n % 16 == 15:
            sums = [((s ^ s >> 47 ^ k) * P32_1) & MASK for s, k in zip(sums, SCRAMBLE)]
    _accumulate(sums, _words(data, len(data) - STRIPE, 8), LAST)
    result = len(data) * P64_1 & MASK
    for i in range(0, 8, 2):
        product = (sums[i] ^ MERGE[i]) * (sums[i + 1] ^ MERGE[i + 1])
        result += product & MASK ^ product >> 64
    result &= MASK
    result ^= result >> 37
    result = result * 0x165667919E3779F9 & MASK
    return result ^ result >> 32


def text(data):
    """As the contract writes checksums."""
    return f"xxh3-64:{digest(data):016x}"
