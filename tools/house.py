#!/usr/bin/env python3
"""The house rules (ARCHITECTURE.md, CONTRIBUTING.md), judged without a build and without exceptions.

    tools/house.py [ROOT]        prints `file:line: rule: what`, ends with 1 when there is anything

room        a folder under src/ is a room: ARCHITECTURE.md names it, FLOORS places it
include     a file includes its own room and what its room may use; backends never include each
            other, and of device/ only probe.c names them
lines       a file has at most 500 lines
function    a function has at most 60 lines, from its first word to its closing brace
parameters  a function has at most 5. Shapes are judged where they are decided: a static function
            that its file never calls is a callback, and its type is judged (or foreign) instead
nesting     at most 3 control structures inside each other
prefix      a symbol with linkage starts with its file's stem: span_ in memory/span.c, host_owner_
            in device/host/owner.c; the stem alone will do. A second header of job.c is job_….h.
            Only src/ is held to it; `main` may stand in a program
"""

import re
import sys
from pathlib import Path

MAX_LINES, MAX_FUNCTION, MAX_PARAMETERS, MAX_NESTING = 500, 60, 5, 3

FLOORS = [["base"], ["device"], ["memory"], ["ledger", "model", "history", "fleet"], ["service"], ["ops"],
          ["http", "socket"], ["daemon"]]
MAY_USE = {room: {lower for floor in FLOORS[:level] for lower in floor}
           for level, rooms in enumerate(FLOORS) for room in rooms}
MAY_USE |= {"client": {"base"}, "cli": {"base", "client", "gen"}, "vault": {"base"}, "torch": {"base"}, "worker": {"base", "device", "model"}}
PROGRAMS = {"daemon", "worker", "vault", "cli"}
OUTSIDE = ["tests", "bench", "fuzz", "tools"]

TOKEN = re.compile(r"""
    (?P<skip>\s+|//[^\n]*|/\*.*?\*/|\\\n)
  | (?P<directive>\#(?:/\*.*?\*/|\\\n|[^\n])*)
  | (?P<word>[A-Za-z_]\w*)
  | (?P<literal>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\.?\d(?:[eEpP][+-]|[\w.])*)
  | (?P<mark>\.\.\.|.)
""", re.X | re.S)
OPEN, CLOSE = {"(": ")", "[": "]", "{": "}"}, set(")]}")
NO_NAME = set("""void char short int long float double signed unsigned const volatile restrict static extern inline
    typedef register auto _Bool _Atomic _Thread_local _Noreturn __thread __extension__""".split())
WRAPPERS = {"__attribute__", "__asm__", "_Alignas", "alignas", "typeof", "__typeof__"}


class Token:
    __slots__ = ("text", "line", "word")

    def __init__(self, text, line, word):
        self.text, self.line, self.word = text, line, word


class Source:
    """One file as tokens and includes. Of an #if inside braces only the first branch is kept, so that
    braces always pair; outside of braces every branch is judged."""

    def __init__(self, text):
        self.text, self.tokens, self.includes = text, [], []
        self.depth, self.branches = 0, []  # of each open #if: depth at its start, skipping now, one was taken
        line = 1
        for match in TOKEN.finditer(text):
            kind, piece = match.lastgroup, match.group()
            if kind == "directive":
                self.directive(piece, line)
            elif kind != "skip" and not any(skipping for _, skipping, _ in self.branches):
                self.depth += (piece == "{") - (piece == "}")
                self.tokens.append(Token(piece, line, kind == "word"))
            line += piece.count("\n")

    def directive(self, text, line):
        name, rest = re.match(r"#\s*(\w*)\s*(.*)", text, re.S).groups()
        if name == "include" and (match := re.match(r'["<]([^">]+)[">]', rest)):
            self.includes.append((line, match[1], rest[0] == '"'))
        elif name in ("if", "ifdef", "ifndef"):
            self.branches.append((self.depth, rest.strip() == "0", rest.strip() != "0"))
        elif name in ("else", "elif") and self.branches:
            depth, _, taken = self.branches[-1]
            self.branches[-1] = (depth, taken and (depth > 0 or self.depth != depth), True)
        elif name == "endif" and self.branches:
            self.branches.pop()


class Function:
    """A function, or a function type, as declared at file scope or as a member."""

    def __init__(self, name, line, parameters, static, inner=False):
        self.name, self.line, self.parameters, self.static, self.inner = name, line, parameters, static, inner
        self.end = self.body = None


def after(tokens, i):
    """The index after the bracket group that opens at i."""
    depth = 0
    while i < len(tokens):
        depth += (tokens[i].text in OPEN) - (tokens[i].text in CLOSE)
        i += 1
        if depth == 0:
            break
    return i


def count_parameters(group):
    """How many parameters stand in `( … )`; `void` and `...` are none."""
    parts, depth = [[]], 0
    for token in group[1:-1]:
        depth += (token.text in OPEN) - (token.text in CLOSE)
        if token.text == "," and depth == 0:
            parts.append([])
        else:
            parts[-1].append(token.text)
    return sum(part not in ([], ["void"], ["..."]) for part in parts)


class Scope:
    """The declarations of one file: symbols [(name, line, static)] and functions [Function]."""

    def __init__(self, tokens):
        self.tokens, self.symbols, self.functions = tokens, [], []
        i = 0
        while i < len(tokens):
            i = self.declaration(i)

    def declaration(self, i):
        tokens, start, words = self.tokens, i, []
        while i < len(tokens) and tokens[i].text != ";":
            text = tokens[i].text
            if text in WRAPPERS and i + 1 < len(tokens) and tokens[i + 1].text == "(":
                i = after(tokens, i + 1)
            elif text in ("struct", "union", "enum"):
                i = self.type(i)
                words.append(Token("int", tokens[start].line, True))
            elif text == "=":
                words.append(tokens[i])
                i = self.initialiser(i)
            elif text == "{":
                end = after(tokens, i)
                self.declared(words, tokens[start].line, tokens[i:end])
                return end
            else:
                words.append(tokens[i])
                i += 1
        self.declared(words, tokens[min(start, len(tokens) - 1)].line, None)
        return i + 1

    def initialiser(self, i):
        while i < len(self.tokens) and self.tokens[i].text not in (",", ";"):
            i = after(self.tokens, i) if self.tokens[i].text in OPEN else i + 1
        return i

    def type(self, i):
        """Skips a struct, union or enum; function pointers among its members are judged."""
        tokens, i = self.tokens, i + 1
        while i < len(tokens) and tokens[i].text in WRAPPERS:
            i = after(tokens, i + 1)
        i += i < len(tokens) and tokens[i].word
        if i < len(tokens) and tokens[i].text == "{":
            end = after(tokens, i)
            self.pointers(tokens[i + 1:end - 1], inner=True)
            return end
        return i

    def pointers(self, tokens, inner):
        """Function pointers: `(*name)(parameters)`."""
        for i in range(len(tokens) - 3):
            if [t.text for t in tokens[i:i + 2]] == ["(", "*"]:
                end = after(tokens, i)
                if end < len(tokens) and tokens[end].text == "(":
                    count = count_parameters(tokens[end:after(tokens, end)])
                    self.functions.append(Function(tokens[i + 2].text, tokens[i].line, count, False, inner))

    def declared(self, words, line, body):
        texts = {word.text for word in words}
        static, typedef = "static" in texts, "typedef" in texts
        if words and words[0].text in ("_Static_assert", "static_assert"):
            return
        self.pointers(words, inner=True)
        i, name, named = 0, None, False
        while i < len(words):
            text = words[i].text
            if text == "(" and name and not (i + 1 < len(words) and words[i + 1].text == "*"):
                end = after(words, i)
                function = Function(name.text, line, count_parameters(words[i:end]), static)
                if body:
                    function.body, function.end = body, body[-1].line
                self.functions.append(function)
                self.symbol(name, static, typedef)
                i, name, named = end, None, True
            elif text == "(":
                inside = [w for w in words[i:after(words, i)] if w.word and w.text not in NO_NAME]
                self.symbol(inside[0] if inside else None, static, typedef)
                i, name, named = len(words), None, True
            elif text == "[":
                i = after(words, i)
            elif text == ",":
                self.symbol(None if named else name, static, typedef)
                i, name, named = i + 1, None, False
            else:
                if words[i].word and text not in NO_NAME:
                    name = words[i]
                i += 1
        self.symbol(None if named else name, static, typedef)

    def symbol(self, name, static, typedef):
        if name and not typedef:
            self.symbols.append((name.text, name.line, static))


class Nesting:
    """Walks the statements of a body; deepest = (depth, line) of its most deeply nested structure."""

    def __init__(self, body):
        self.tokens, self.deepest = body, (0, 0)
        self.block(0, 0)

    def text(self, i):
        return self.tokens[i].text if i < len(self.tokens) else ""

    def block(self, i, depth):
        i += 1
        while i < len(self.tokens) and self.text(i) != "}":
            i = self.statement(i, depth)
        return i + 1

    def inner(self, i, depth, line):
        self.deepest = max(self.deepest, (depth + 1, line), key=lambda d: d[0])
        return self.statement(i, depth + 1)

    def statement(self, i, depth):
        text, line = self.text(i), self.tokens[i].line if i < len(self.tokens) else 0
        if text == "{":
            return self.block(i, depth)
        if text == "if":
            i = self.inner(after(self.tokens, i + 1), depth, line)
            if self.text(i) != "else":
                return i
            return self.statement(i + 1, depth) if self.text(i + 1) == "if" else self.inner(i + 1, depth, line)
        if text in ("for", "while", "switch"):
            return self.inner(after(self.tokens, i + 1), depth, line)
        if text == "do":
            return self.expression(self.inner(i + 1, depth, line))
        if text in ("case", "default"):
            while i < len(self.tokens) and self.text(i) != ":":
                i += 1
            return i + 1
        if i < len(self.tokens) and self.tokens[i].word and self.text(i + 1) == ":":
            return i + 2
        if i < len(self.tokens) and self.tokens[i].word and self.text(i + 1) == "(":
            end = after(self.tokens, i + 1)
            if self.text(end) == "{":  # a macro that loops
                return self.inner(end, depth, line)
        return self.expression(i)

    def expression(self, i):
        while i < len(self.tokens) and self.text(i) not in (";", "}"):
            i = after(self.tokens, i) if self.text(i) in OPEN else i + 1
        return i + (self.text(i) == ";")


class House:
    def __init__(self, root):
        self.root, self.src, self.found = root, root / "src", []

    def say(self, path, line, rule, what):
        self.found.append(f"{path.relative_to(self.root)}:{line}: {rule}: {what}")

    def judge(self):
        self.rooms()
        for folder in ["src"] + OUTSIDE:
            for path in sorted((self.root / folder).rglob("*.[ch]")):
                self.file(path)
        return self.found

    def rooms(self):
        plan = self.root / "ARCHITECTURE.md"
        text = plan.read_text() if plan.exists() else ""
        for room in sorted({path.relative_to(self.src).parts[0] for path in self.src.rglob("*.[ch]")}):
            if (self.src / room).is_file():
                self.say(self.src / room, 1, "room", "lies in no room")
                continue
            if not re.search(rf"\b{re.escape(room)}/", text):
                self.say(plan, 1, "room", f"does not name {room}/")
            if room not in MAY_USE:
                self.say(self.src / room, 1, "room", "stands on no floor (FLOORS in tools/house.py)")

    def file(self, path):
        source = Source(path.read_text())
        scope = Scope(source.tokens)
        lines = len(source.text.splitlines())
        if lines > MAX_LINES:
            self.say(path, MAX_LINES + 1, "lines", f"{lines} lines, at most {MAX_LINES}")
        for function in scope.functions:
            self.function(path, function, source)
        if self.src in path.parents:
            for line, name, quoted in source.includes:
                self.include(path, line, name, quoted)
            self.prefix(path, scope)

    def function(self, path, function, source):
        name, line = function.name, function.line
        if function.parameters > MAX_PARAMETERS and not self.is_callback(function, source):
            self.say(path, line, "parameters", f"{name} has {function.parameters}, at most {MAX_PARAMETERS}")
        if not function.body:
            return
        length = function.end - line + 1
        if length > MAX_FUNCTION:
            self.say(path, line, "function", f"{name} has {length} lines, at most {MAX_FUNCTION}")
        depth, at = Nesting(function.body).deepest
        if depth > MAX_NESTING:
            self.say(path, at, "nesting", f"{name} nests {depth} deep, at most {MAX_NESTING}")

    @staticmethod
    def is_callback(function, source):
        """Static, and its name is never followed by `(` but where it is declared."""
        if not function.static:
            return False
        uses = [i for i, token in enumerate(source.tokens[:-1])
                if token.text == function.name and source.tokens[i + 1].text == "("]
        declared = [f for f in Scope(source.tokens).functions if f.name == function.name and not f.inner]
        return len(uses) == len(declared)

    def include(self, path, line, name, quoted):
        own = path.relative_to(self.src).parts
        beside = (path.parent / name).resolve()
        if quoted and self.src in beside.parents and beside.exists():
            target = beside.relative_to(self.src).parts
        else:
            target = Path(name).parts
        if not quoted and target[0] not in MAY_USE:
            return  # a library's
        if target[0] == "device" and len(target) > 2 and target[:2] != own[:2] and own != ("device", "probe.c"):
            self.say(path, line, "include", f"{name}: only device/probe.c knows backends")
        elif target[0] != own[0] and target[0] not in MAY_USE.get(own[0], ()):
            self.say(path, line, "include", f"{name}: {own[0]}/ may not use {target[0]}/")

    def prefix(self, path, scope):
        *folders, stem = path.relative_to(self.src).with_suffix("").parts
        prefix = "_".join(folders[1:] + [stem]) + "_"
        source = stem.rsplit("_", 1)[0]
        if path.suffix == ".h" and not path.with_suffix(".c").exists() and path.with_name(source + ".c").exists():
            prefix = "_".join(folders[1:] + [source]) + "_"
        for name, line, static in scope.symbols:
            in_program = folders[:1] and folders[0] in PROGRAMS
            if static or name.startswith(prefix) or (in_program if name == "main" else name + "_" == prefix):
                continue
            self.say(path, line, "prefix", f"{name} should start with {prefix}")


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent).resolve()
    found = House(root).judge()
    print("\n".join(found) or "house: ok")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
