import struct


def decode(data: bytes) -> list[tuple[int, int, bytes]]:
    frames = []
    while len(data) >= 7:
        kind, channel, size = struct.unpack(">BHI", data[:7])
        if len(data) < 8 + size:
            break
        if data[7 + size] != 0xCE:
            raise ValueError("a frame ends in 0xCE")
        frames.append((kind, channel, data[7 : 7 + size]))
        data = data[8 + size :]
    return frames
