#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Every function that a library shows is called by somebody: by code of src/ or
# cli/ outside the file that defines it, by another public header's inline code,
# or by an example. A promise that nobody uses is one that nobody tried.
set -euo pipefail
cd "$SRC"
shown=$(nm -D --defined-only "$BUILD/libtidemark.so" "$BUILD/libtidemark-disk.so" |
	awk '$2 == "T" { sub(/@.*/, "", $3); if ($3 ~ /^tide_/) print $3 }')
SHOWN=$shown python3 - <<'PY'
import glob, os, re, sys

COMMENT = re.compile(r'/\*.*?\*/', re.S)
code = {p: COMMENT.sub(' ', open(p).read())
        for folder in ('src', 'cli', 'examples')
        for p in glob.glob(f'{folder}/**/*.c', recursive=True)}
inline = [COMMENT.sub(' ', open(p).read())
          for p in glob.glob('include/tidemark/*_inline.h')]

def defines(text, name):
    """A line that begins with its type, and a body behind it."""
    return re.search(r'^\w[\w \t*]*\b%s\([^;{]*\)\s*\{' % name, text, re.M)

names = sorted(set(os.environ['SHOWN'].split()))
wrong = 0
for name in names:
    call = re.compile(r'\b%s\b' % name)
    home = [p for p, text in code.items() if defines(text, name)]
    if not home:
        print(f'{name} is defined nowhere: the test does not see it')
        wrong += 1
    if not any(call.search(text) for p, text in code.items() if p not in home) \
            and not any(re.search(r'return %s\(' % name, t) for t in inline):
        print(f'{name} ({", ".join(home)}) is called by nobody')
        wrong += 1
print(f'{len(names)} functions')
sys.exit(1 if wrong or len(names) < 50 else 0)
PY
