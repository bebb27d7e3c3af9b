#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Turns the guest's flat binary into a C array. usage: embed.py IN OUT"""
import sys

with open(sys.argv[1], "rb") as image:
    data = image.read()
with open(sys.argv[2], "w", encoding="ascii") as out:
    out.write("/* Made by guest/embed.py. */\n")
    out.write("static const unsigned char guest_image[] = {\n")
    for i in range(0, len(data), 12):
        row = ", ".join(f"0x{b:02x}" for b in data[i:i + 12])
        out.write(f"\t{row},\n")
    out.write("};\n")
