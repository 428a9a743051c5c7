"""Solvers of synthetic tasks in plain Python, from the labels of what a row reads.

Each gives the places that are scored, and what is said there; it asserts on the way what
else the rule says of a row.
"""

import re
from collections import Counter
from functools import reduce


def induction(task, words):
    answer = words[words.index(">") + 1]
    assert words.count(">") == 2
    return [(len(words) - 1, answer)]


def associative_recall(task, words):
    *pairs, separator, asked = words
    assert separator == "=>"
    values = {}
    for key, value in zip(pairs[::2], pairs[1::2]):
        assert key.startswith("~") or values.setdefault(key, value) == value
    return [(len(words) - 1, values[asked])]


def selective_copy(task, words):
    mark = words.index(">")
    symbols = [word for word in words[:mark] if word != "-"]
    assert set(words[mark + 1 :]) == {"-"}
    return list(enumerate(symbols, mark + 1))


def copy(task, words):
    end = words.index("|")
    return list(enumerate(words[:end], end))


def sort(task, words):
    end = words.index("|")
    numbers = sorted(int(word) for word in words[:end])
    assert not task.unique or len(set(numbers)) == end
    return [(end + i, str(number)) for i, number in enumerate(numbers)]


def ngram_lookup(task, words):
    n, P = task.n, task.num_answers
    shape = (
        rf"\$(.{{{n}}})\|(.+)\|.*" if task.key == "prefix" else rf"\$(.+)\|(.{{{n}}}).*"
    )
    first, second = re.fullmatch(shape, "".join(words)).groups()
    key, string = (first, second) if task.key == "prefix" else (second, first)
    (place,) = (i for i in range(len(string)) if string.startswith(key, i))
    answer = string[place + n : place + n + P]
    return list(enumerate(answer, len(words) - P))


def word_problem(task, words):
    if task.group == "z7":
        sums = [sum(map(int, words[: t + 1])) % 7 for t in range(len(words))]
        return [(t, str(total)) for t, total in enumerate(sums)]
    answers = []
    for t in range(len(words)):
        factors = words[t::-1]
        walk = (
            reduce(lambda i, x: x[int(i)], factors, i) for i in range(len(words[0]))
        )
        answers.append((t, "".join(walk)))
    return answers


def mano(task, words):
    reader = iter(words)

    def value():
        word = next(reader)
        if word.isdecimal():
            return int(word)
        a, b = value(), value()
        return {"+": a + b, "-": a - b, "*": a * b}[word]

    worth = value() % task.modulus
    assert next(reader) == "="
    return [(words.index("="), str(worth))]


def depo(task, words):
    begin = next(i for i, word in enumerate(words) if word.startswith("k"))
    after = dict(zip(words[0:begin:2], words[1:begin:2]))
    assert sorted(after) == sorted(after.values())
    found, place = [], begin
    while place + 1 < len(words) and words[place] != "_":
        node = asked = words[place + 1]
        for _ in range(int(words[place][1:])):
            node = after[node]
        found.append((place + 1, node))
        assert asked in after
        place += 3
    return found


def common_words(task, words):
    bar = words.index("|")
    counts = Counter(words[:bar])
    common = [word for word in counts if counts[word] == task.repeats]
    others = [counts[word] for word in counts if word not in common]
    assert sorted(others, reverse=True)[:-1] == [task.other_repeats] * (len(others) - 1)
    assert len(common) == task.num_answers
    return list(enumerate(common, bar))


def frequent_words(task, words):
    bar = words.index("|")
    counts = Counter(words[:bar])
    (noise, _), *others = counts.most_common()
    assert noise == "."
    times = [count for _, count in others]
    law = [
        [int(s / k**task.alpha) for k in range(2, len(times) + 3)] for s in range(bar)
    ]
    assert [*times, 0] in law
    return list(enumerate([word for word, _ in others][: task.num_answers], bar))


def variable_tracking(task, words):
    mark = words.index("?")
    reader, worth = iter(words[:mark]), {}
    for word in reader:
        if word != ".":
            assert word.startswith("x")
            assert word not in worth
            source = next(reader)
            assert source in worth or not source.startswith("x")
            worth[word] = worth.get(source, source)
    assert set(Counter(worth.values()).values()) == {task.num_hops + 1}
    assert len(set(worth.values())) == task.num_chains
    found = [name for name, value in worth.items() if value == words[mark + 1]]
    return list(enumerate(found, mark + 1))


def in_order(parents, among, said=()):
    """Yields all of some names, each after its parents, of several the smallest first."""
    said = set(said)
    while left := among - said:
        ready = [int(n) for n in left if parents[n] & among <= said]
        yield str(min(ready))
        said.add(str(min(ready)))


def parents_of(edges):
    """The parents of every node of a list of parents and children in turns."""
    parents = {node: set() for node in edges}
    for parent, child in zip(edges[::2], edges[1::2]):
        assert parent not in parents[child]
        parents[child].add(parent)
    return parents


def brevo(task, words):
    mark = words.index("?")
    parents, asked = parents_of(words[:mark]), words[mark + 1]
    among = {asked}
    for _ in range(task.num_nodes):
        among |= {parent for node in among for parent in parents[node]}
    children = Counter(words[0:mark:2])
    assert max(children.values()) <= 4
    assert max(map(len, parents.values())) <= 4
    assert asked not in children
    answer = list(in_order(parents, among))
    assert len(among) <= task.num_nodes
    return list(enumerate(answer[: task.num_scored], mark + 1))
