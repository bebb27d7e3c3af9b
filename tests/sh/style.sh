#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# The layout that .clang-format describes, as far as the whole tree follows it:
# every rule below holds for each C file that git tracks (or, in a tarball, that
# lies there), and a violation is reported as file:line.
set -euo pipefail
cd "$SRC"
python3 - <<'PY'
import glob, re, subprocess, sys

COLUMNS = 80
# Lines of code here are still a few columns longer; comments are not.
LONGER = ('cli/backup/', 'cli/serve', 'cli/snapshot/', 'cli/top/', 'src/attach/',
          'src/backup/', 'src/bitmaps/', 'src/cbt/', 'src/instant/', 'src/nbd/',
          'src/snapshot/', 'src/vmm/')
SPDX = '/* SPDX-License-Identifier: BSD-2-Clause */'
KEYWORDS = r'(?:if|for|while|switch|do|else)\b'

# A line that matches is wrong. Strings and comments are blanked before.
RULES = [(re.compile(pattern, re.M), why) for pattern, why in (
    (r'\b(?:if|for|while|switch)\(',
     'no blank between keyword and parenthesis'),
    (r'^(?!struct|union|enum|typedef|#)\w.*\)\s*\{$',
     "a function's brace is not on a line of its own"),
    (r'^\s+%s.*\)$(?=\n\s+\{)' % KEYWORDS,
     'brace not on the line of its keyword'),
    (r'^\s*\}\s*$(?=\n\s*else\b)', 'else not on the line of the brace'),
    (r'^\s+(?:(?:if|while) \([^;]*\)|for \([^;]*;[^;]*;[^;]*\)) [^ {].*;$',
     'a statement beside its if or loop'),
    (r'\b(?:char|void|u?int\w*|struct \w+)\* ', 'the asterisk belongs to the name'),
    (r'(?<!:)//', 'a // comment'),
    (r'^ {8} *(?![ \\])', 'indentation by blanks'),
)]
TEXT = re.compile(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|/\*.*?\*/', re.S)

def tracked():
    try:
        out = subprocess.run(['git', 'ls-files', '*.c', '*.h'], text=True,
                             capture_output=True, check=True).stdout.split()
    except (OSError, subprocess.CalledProcessError):
        out = []
    return out or [p for top in ('bench', 'cli', 'examples', 'fuzz', 'guest',
                                 'include', 'src', 'tests')
                   for p in glob.glob(f'{top}/**/*.[ch]', recursive=True)]

def blank(match):
    text = match.group(0)
    return text[0] + re.sub(r'[^\n]', '_', text[1:-1]) + text[-1] \
        if text[0] in '"\'' else re.sub(r'[^\n]', ' ', text)

def faults(path, text):
    lines = text.split('\n')
    if lines[0] != SPDX:
        yield 1, f'the first line is not {SPDX}'
    if not text.endswith('\n') or text.endswith('\n\n'):
        yield len(lines), 'the file does not end with one newline'
    code = TEXT.sub(blank, text).split('\n')
    for n, line in enumerate(lines, 1):
        width = len(line.expandtabs(8))
        if width > COLUMNS and not (path.startswith(LONGER) and
                                    code[n - 1].strip()):
            yield n, f'{width} columns, {COLUMNS} are the limit'
        if line != line.rstrip():
            yield n, 'blanks at the end'
        if ' \t' in line[:len(line) - len(line.lstrip())]:
            yield n, 'a tab behind blanks'
    bare = [line.rstrip() for line in code] + ['']
    for n in range(len(lines)):
        here = bare[n] + '\n' + bare[n + 1]
        for pattern, why in RULES:
            if pattern.search(here if why[:5] in ('brace', 'else ') else bare[n]):
                yield n + 1, why

wrong = 0
paths = tracked()
for path in paths:
    for n, why in faults(path, open(path, encoding='utf-8').read()):
        print(f'{path}:{n}: {why}')
        wrong += 1
print(f'{len(paths)} files, {wrong} faults')
sys.exit(1 if wrong or not paths else 0)
PY
