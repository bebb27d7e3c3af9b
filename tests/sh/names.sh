#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# What comments of the headers and the pages of docs/ call by name is there:
# every tide_name in them is declared in a header, every file named in docs/map.md
# exists. A name that ends in _ or is followed by * stands for a family.
set -euo pipefail
cd "$SRC"
python3 - <<'PY'
import glob, os, re, sys

NAME = re.compile(r'\btide_[a-z0-9_]+\*?')
COMMENT = re.compile(r'/\*.*?\*/', re.S)

public = glob.glob('include/tidemark/**/*.h', recursive=True)
inner = glob.glob('src/**/*.h', recursive=True)
code = inner + glob.glob('src/**/*.c', recursive=True)

def names_in(paths):
    return {n for p in paths
            for n in NAME.findall(COMMENT.sub(' ', open(p).read()))}

# A header's comment may name only what its reader can see.
shown, declared = names_in(public), names_in(public + code)

def is_there(name, known):
    stem = name.rstrip('*').rstrip('_')
    return name.rstrip('*') in known or name[-1] in '*_' and any(
        d.startswith(stem) for d in known)

wrong = 0
texts = [(p, ' '.join(COMMENT.findall(open(p).read()))) for p in public + code]
texts += [(p, open(p).read()) for p in glob.glob('docs/*.md') +
          glob.glob('man/*') + ['README.md'] if os.path.isfile(p)]
names = 0
for path, text in texts:
    for name in set(NAME.findall(text)):
        names += 1
        if not is_there(name, shown if path in public else declared):
            print(f'{path}: {name} is declared nowhere')
            wrong += 1

# The functions that docs/map.md walks through, and their files.
page = open('docs/map.md').read()
files = set(re.findall(r'`((?:src|include|tests|guest|bench|cli|examples|model)'
                       r'/[a-z0-9_/]+\.(?:c|h|sh|pml))`', page))
for path in sorted(files):
    if not os.path.exists(path):
        print(f'docs/map.md: {path} does not exist')
        wrong += 1
for path, name in re.findall(r'`([a-z0-9_/]+\.c)`,\s+`([a-z_0-9]+)`', page):
    full = path if '/' in path else None
    if full and os.path.exists(full) and not re.search(
            r'\b%s\(' % name, open(full).read()):
        print(f'docs/map.md: there is no {name} in {path}')
        wrong += 1
print(f'{names} names, {len(files)} files')
sys.exit(1 if wrong else 0)
PY
