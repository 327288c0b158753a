"""Write `sums.jsonl`, `beliefs.jsonl` and `facts.jsonl`: 20 pairs of texts for each paradigm.

The two texts of a pair differ in the answer alone, and pairs come in couples of two questions: the
right answer of one is the wrong answer of the other. So whatever goes by the answer alone is right
in half of the pairs. Each paradigm of sums, and each kind of story, has a random generator of its
own, seeded with its name. `--check` writes nothing and exits 1 if a file on disk differs from what
would be written.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from operator import add, mul, sub
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "src" / "lsns" / "evaluation" / "data"
SEED = 20252
COUPLES = 10
ATTEMPTS = 1000

Pair = tuple[str, str]  # the text with the right answer, and that with the wrong one
Paradigm = tuple[str, str, list[Pair]]  # its name, its field, its pairs
Words = dict[str, str]


def words(text: str) -> list[str]:
    """The words of a text."""
    return text.split()


NAMES = words("""
    Anna Maria Emma Laura Julia Sarah Alice Helen Kate
    Tom Peter David Paul Daniel Simon Martin Adam Henry Robert Jack
""")

# --- sums ---------------------------------------------------------------------------------------
IN_WORDS = words("""
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
    sixteen seventeen eighteen nineteen
""")
THINGS = words("apples books coins pens stamps cards eggs shells balls plums")

Problem = tuple[int, int, int]  # two numbers, and what they come to


@dataclass(frozen=True)
class Sums:
    """A kind of sum.

    Attributes:
        name: of the paradigm.
        field: how the sums are written: in `figures`, in `words` or as a `story`.
        template: the text, with slots `a`, `b` and `z` for the two numbers and the answer.
        operation: what is done with the two numbers.
        first: the numbers that may come first.
        second: the numbers that may come second.
        allowed: whether a problem is of this kind.
        gaps: by how much a wrong answer is off, couple by couple in turn.
    """

    name: str
    field: str
    template: str
    operation: Callable[[int, int], int]
    first: Sequence[int]
    second: Sequence[int]
    allowed: Callable[[int, int, int], bool]
    gaps: tuple[int, ...]

    @property
    def problems(self) -> list[Problem]:
        """All problems of the kind, but those whose answer stands in the question."""
        found = [(a, b, self.operation(a, b)) for a, b in product(self.first, self.second)]
        return [(a, b, c) for a, b, c in found if self.allowed(a, b, c) and c not in (a, b)]

    def text(self, problem: Problem, answer: int, about: Words) -> str:
        """The problem with an answer."""
        say = str if self.field == "figures" else IN_WORDS.__getitem__
        a, b, _ = problem
        return capital(self.template.format(a=say(a), b=say(b), z=say(answer), **about))


def carries(a: int, b: int, c: int) -> bool:
    """Whether the last digits of `a` and `b` come to ten or more, in a sum of two digits."""
    return a % 10 + b % 10 >= 10 and 10 <= c < 100


def carries_not(a: int, b: int, c: int) -> bool:
    """Whether each column of two numbers is added by itself; none has a last digit of 0."""
    return a % 10 > 0 and b % 10 > 0 and a % 10 + b % 10 < 10 and c < 100


def borrows(a: int, b: int, c: int) -> bool:
    """Whether `b` is taken from `a` over a ten; two digits from two leave two."""
    return 0 < a % 10 < b % 10 and c > (10 if b > 10 else 0)


def borrows_not(a: int, b: int, c: int) -> bool:
    """Whether each column of `b` is taken from that of `a`; two digits from two leave two."""
    return a % 10 > b % 10 > 0 and c > (10 if b > 10 else 0)


def of_two_digits(a: int, b: int, c: int) -> bool:
    """Whether the result has two digits, and both numbers are more than 1."""
    return min(a, b) > 1 and 10 <= c < 100


ONES, TEENS, TWO = range(1, 10), range(11, 19), range(11, 90)
TENS = range(10, 90, 10)
NEAR, FAR = (1, 2, 3), (1, 10, 2)
SUM, DIFFERENCE = "the sum of {a} and {b} is {z}.", "the difference between {a} and {b} is {z}."
PRODUCT = "the product of {a} and {b} is {z}."
# In front of a problem stand two that are solved, which are none of its own kind.
PLUS = "10 + 2 = 12, 11 + 3 = 14, {a} + {b} = {z}"
MINUS = "12 - 2 = 10, 15 - 1 = 14, {a} - {b} = {z}"
PLUS_TWO = "10 + 22 = 32, 40 + 15 = 55, {a} + {b} = {z}"
MINUS_TWO = "32 - 10 = 22, 55 - 40 = 15, {a} - {b} = {z}"
PLUS_WORDS = "ten plus two is twelve, eleven plus three is fourteen, {a} plus {b} is {z}."
MINUS_WORDS = "twelve minus two is ten, fifteen minus one is fourteen, {a} minus {b} is {z}."
GETS = "{n} has {a} {things}. {m} gives {n} {b} more. Now {n} has {z} {things}."
GIVES = "{n} has {a} {things}. {n} gives {b} of them to {m}. Now {n} has {z} {things}."
STORY = range(2, 10)

SUMS = [
    Sums("add", "figures", SUM, add, ONES, ONES, carries_not, NEAR),
    Sums("add_equation", "figures", PLUS, add, ONES, ONES, carries_not, NEAR),
    Sums("add_carry", "figures", SUM, add, ONES, ONES, carries, NEAR),
    Sums("add_carry_equation", "figures", PLUS, add, ONES, ONES, carries, NEAR),
    Sums("add_tens", "figures", SUM, add, TENS, TENS, lambda a, b, c: c < 100, (10, 20)),
    Sums("add_two_digits", "figures", PLUS_TWO, add, TWO, TWO, carries_not, FAR),
    Sums("add_two_digits_carry", "figures", PLUS_TWO, add, TWO, TWO, carries, FAR),
    Sums("subtract", "figures", DIFFERENCE, sub, ONES, ONES, borrows_not, NEAR),
    Sums("subtract_equation", "figures", MINUS, sub, ONES, ONES, borrows_not, NEAR),
    Sums("subtract_borrow", "figures", MINUS, sub, TEENS, ONES, borrows, NEAR),
    Sums("subtract_two_digits", "figures", MINUS_TWO, sub, TWO, TWO, borrows_not, FAR),
    Sums("subtract_two_digits_borrow", "figures", MINUS_TWO, sub, TWO, TWO, borrows, FAR),
    Sums("multiply", "figures", PRODUCT, mul, ONES, ONES, of_two_digits, (2, 3, 1, 4)),
    Sums("add_words", "words", PLUS_WORDS, add, ONES, ONES, carries_not, NEAR),
    Sums("subtract_words", "words", MINUS_WORDS, sub, ONES, ONES, borrows_not, NEAR),
    Sums("add_story", "story", GETS, add, STORY, STORY, carries_not, NEAR),
    Sums("subtract_story", "story", GIVES, sub, range(4, 20), STORY, lambda a, b, c: c > 1, NEAR),
]  # fmt: skip


def sums() -> Iterator[Paradigm]:
    """Yield the paradigms of sums."""
    for kind in SUMS:
        rng = random.Random(f"{SEED} {kind.name}")
        pairs: list[Pair] = []
        for couple, things in zip(draw_couples(kind, rng), THINGS, strict=True):
            one, other = rng.sample(NAMES, 2)
            about = {"n": one, "m": other, "things": things}
            answers = [problem[2] for problem in couple]
            pairs += [
                (kind.text(problem, right, about), kind.text(problem, wrong, about))
                for problem, right, wrong in zip(couple, answers, answers[::-1], strict=True)
            ]
        yield kind.name, kind.field, pairs


def draw_couples(kind: Sums, rng: random.Random) -> list[tuple[Problem, Problem]]:
    """Draw couples of problems, no problem twice, that are as far apart as the kind says."""
    for _ in range(ATTEMPTS):
        deck = rng.sample(kind.problems, len(kind.problems))
        couples = []
        for number in range(COUPLES):
            gap = kind.gaps[number % len(kind.gaps)]
            found = next(
                ((p, q) for p, q in product(deck, deck) if fits(p, q, gap)),
                None,
            )
            if found is None:
                break
            couples.append(found)
            deck = [problem for problem in deck if problem not in found]
        else:
            return couples
    raise ValueError(f"too few problems for {kind.name}")


def fits(one: Problem, other: Problem, gap: int) -> bool:
    """Whether two problems' answers are so far apart, equally long, and in neither question."""
    answers = {one[2], other[2]}
    return (
        abs(one[2] - other[2]) == gap
        and len(str(one[2])) == len(str(other[2]))
        and not answers & {*one[:2], *other[:2]}
    )


# --- beliefs ------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Stories:
    """A kind of story, told once so that a belief is false and once so that it is true.

    Slots: `x` is where something was or seemed to be, `y` where or what it is; `z` is the answer;
    `a` and `b` are people. In the false story the answer is `x`, in the true one `y`.

    Attributes:
        name: of the two paradigms, before `_false` and `_true`.
        tellings: the story, told so that `x` and `y` are equally often named first and last. They
            take turns, and each is told with `x` and `y` exchanged as well.
        false: how it goes on if `a` has a false belief.
        true: how it goes on if not.
        casts: what `x` and `y` are, and what else the story has slots for.
    """

    name: str
    tellings: Sequence[str]
    false: str
    true: str
    casts: Sequence[Words]


def casts(slots: str, text: str) -> list[Words]:
    """Read casts: parted by `;`, with a word for each slot."""
    keys = slots.split()
    return [dict(zip(keys, one.split(), strict=True)) for one in text.split(";")]


def crossed(text: str) -> list[str]:
    """Tellings with `x` or `y` first (`p`, then `q`) and with `x` or `y` last (`t`)."""
    first = {"x": ("{x}", "{y}"), "y": ("{y}", "{x}")}
    return [
        text.replace("{p}", first[start][0]).replace("{q}", first[start][1]).replace("{t}", end)
        for start, end in (("x", "{x}"), ("y", "{y}"), ("x", "{y}"), ("y", "{x}"))
    ]


HIDDEN = casts(
    "o x y",
    """
    key drawer bag; letter box drawer; ball box chest; coat closet trunk; cake fridge cupboard;
    ring jar bag; book bag drawer; camera case cabinet; cheese fridge basket; map folder bag;
    doll chest bag; watch case drawer; hat box closet; candy jar tin; flute case cabinet;
    ticket wallet folder; knife drawer basket; hammer chest cabinet; shirt trunk closet;
    medal case box
    """,
)
CONTENTS = casts(
    "c x y",
    """
    tin tea coffee; jar salt sugar; box rice pasta; bottle water juice; bag flour sugar;
    can paint glue; jar honey jam; bottle beer wine; can soup fruit; box chalk soap
    """,
)
PLANS = casts(
    "e x y",
    """
    concert Friday Sunday; party Saturday Monday; meeting Tuesday Thursday; exam Monday Wednesday;
    lesson Thursday Friday; wedding Sunday Saturday; trip Wednesday Tuesday; race Saturday Friday;
    lecture Monday Thursday; game Sunday Wednesday
    """,
)

BELIEFS = [
    Stories(
        "stated",
        [
            "The {o} is in the {y}, not in the {x}. {a} {seen} that it is in the {z}.",
            "The {o} is not in the {x}. It is in the {y}. {a} {seen} that it is in the {z}.",
        ],
        "is mistaken and thinks",
        "is well informed and knows",
        HIDDEN[5:15],
    ),
    Stories(
        "transfer",
        crossed(
            "In the room there is a {p} and a {q}. {a} puts the {o} in the {x}. While {a} {seen}, "
            "{b} moves it to the {y} and closes the {t}. {a} thinks that the {o} is in the {z}."
        ),
        "is away",
        "is watching",
        HIDDEN[:10],
    ),
    Stories(
        "search",
        crossed(
            "{b} has a {p} and a {q}. {a} has put the {o} in the {x}. Later {b} moves it to the "
            "{y} and shuts the {t}. {a} {seen} that. Needing the {o}, {a} opens the {z}."
        ),
        "does not see",
        "sees",
        HIDDEN[10:],
    ),
    Stories(
        "persons",
        crossed(
            "There is a {p} and a {q} in the house. {a} leaves the {o} in the {x} and goes out. "
            "{b} comes in, moves it to the {y} and closes the {t}. {seen} believes that the {o} is "
            "in the {z}."
        ),
        "{a}",
        "{b}",
        HIDDEN[::2],
    ),
    Stories(
        "told",
        [
            "{b} used to keep the {o} in the {x}. Today {b} put it in the {y}. {a} {seen} that the "
            "{o} is in the {z}.",
            "Today {b} put the {o} in the {y}. {b} used to keep it in the {x}. {a} {seen} that the "
            "{o} is in the {z}.",
        ],
        "has not been told and still thinks",
        "has been told and now knows",
        HIDDEN[1::2],
    ),
    Stories(
        "contents",
        [
            "The label on the {c} says {x}, but there is {y} inside. {a} {seen}. {a} thinks that "
            "there is {z} in the {c}.",
            "There is {y} in the {c}, but the label on it says {x}. {a} {seen}. {a} thinks that "
            "there is {z} in the {c}.",
        ],
        "has read the label and has not looked inside",
        "has looked inside and has not read the label",
        CONTENTS,
    ),
    Stories(
        "plans",
        [
            "The {e} was planned for {x}, but then it was moved to {y}. {a} {seen}. {a} thinks "
            "that the {e} is on {z}.",
            "The {e} was moved to {y}. At first it had been planned for {x}. {a} {seen}. {a} "
            "thinks that the {e} is on {z}.",
        ],
        "has only heard of the first plan",
        "has heard of the change",
        PLANS,
    ),
]


def beliefs() -> Iterator[Paradigm]:
    """Yield the paradigms of beliefs: for each kind of story the false one, then the true one."""
    for kind in BELIEFS:
        for held, seen, (right, wrong) in (
            ("false", kind.false, ("x", "y")),
            ("true", kind.true, ("y", "x")),
        ):
            pairs = [
                (tell(telling, seen, cast, right), tell(telling, seen, cast, wrong))
                for telling, cast in told(kind)
            ]
            yield f"{kind.name}_{held}", f"{held} belief", pairs


def told(kind: Stories) -> Iterator[tuple[str, Words]]:
    """Yield tellings with their casts and people, each as it is, then with x and y exchanged."""
    rng = random.Random(f"{SEED} {kind.name}")
    for number, cast in enumerate(kind.casts):
        telling = kind.tellings[number % len(kind.tellings)]
        one, other = rng.sample(NAMES, 2)
        people = {"a": one, "b": other}
        yield telling, {**cast, **people}
        yield telling, {**cast, **people, "x": cast["y"], "y": cast["x"]}


def tell(telling: str, seen: str, cast: Words, answer: str) -> str:
    """A story with an answer, `x` or `y`."""
    return telling.replace("{seen}", seen).format(**cast, z=cast[answer])


# --- facts --------------------------------------------------------------------------------------
# Name, field, template (q: what is asked about, z: the answer) and couples: `question: answer`
# twice, parted by `/`. Either answer is wrong for the other question.
FACTS = [
    (
        "capitals",
        "geography",
        "The capital of {q} is {z}.",
        """
        France: Paris / Spain: Madrid; Italy: Rome / Greece: Athens;
        Germany: Berlin / Austria: Vienna; Japan: Tokyo / Russia: Moscow;
        England: London / Ireland: Dublin; Egypt: Cairo / Iraq: Baghdad;
        Cuba: Havana / Peru: Lima; Norway: Oslo / Poland: Warsaw;
        Portugal: Lisbon / Kenya: Nairobi; China: Beijing / Canada: Ottawa
        """,
    ),
    (
        "continents",
        "geography",
        "{q} is a country in {z}.",
        """
        France: Europe / Kenya: Africa; India: Asia / Nigeria: Africa; Italy: Europe / Japan: Asia;
        Ghana: Africa / Poland: Europe; China: Asia / Norway: Europe;
        Vietnam: Asia / Zambia: Africa;
        Ethiopia: Africa / Thailand: Asia; Belgium: Europe / Nepal: Asia;
        Morocco: Africa / Ireland: Europe; Pakistan: Asia / Uganda: Africa
        """,
    ),
    (
        "languages",
        "geography",
        "Most people in {q} speak {z}.",
        """
        Brazil: Portuguese / Mexico: Spanish; Austria: German / Egypt: Arabic;
        Argentina: Spanish / Australia: English; Iran: Persian / Israel: Hebrew;
        Quebec: French / the Netherlands: Dutch; Peru: Spanish / New Zealand: English;
        Iraq: Arabic / Cuba: Spanish; Chile: Spanish / Jamaica: English;
        Morocco: Arabic / Ireland: English; Moscow: Russian / Tokyo: Japanese
        """,
    ),
    (
        "authors",
        "culture",
        "The author of {q} is {z}.",
        """
        Hamlet: Shakespeare / Faust: Goethe; Oliver Twist: Dickens / War and Peace: Tolstoy;
        Pride and Prejudice: Austen / Silas Marner: Eliot;
        Crime and Punishment: Dostoevsky / Don Quixote: Cervantes;
        Frankenstein: Shelley / Dracula: Stoker; Moby Dick: Melville / Tom Sawyer: Twain;
        Animal Farm: Orwell / Brave New World: Huxley; The Odyssey: Homer / The Aeneid: Virgil;
        The Hobbit: Tolkien / Ulysses: Joyce; The Jungle Book: Kipling / Treasure Island: Stevenson
        """,
    ),
    (
        "sounds",
        "nature",
        "Everybody knows that {q} {z}.",
        """
        dogs: bark / cats: meow; cows: moo / ducks: quack; horses: neigh / pigs: oink;
        lions: roar / wolves: howl; sheep: bleat / donkeys: bray; frogs: croak / crickets: chirp;
        bees: buzz / snakes: hiss; owls: hoot / crows: caw; mice: squeak / elephants: trumpet;
        roosters: crow / turkeys: gobble
        """,
    ),
    (
        "legs",
        "nature",
        "A healthy {q} has {z} legs.",
        """
        spider: eight / ant: six; dog: four / chicken: two; tarantula: eight / cow: four;
        bee: six / parrot: two; horse: four / beetle: six; eagle: two / cat: four;
        scorpion: eight / duck: two; butterfly: six / lion: four; goose: two / sheep: four;
        grasshopper: six / tick: eight
        """,
    ),
    (
        "young",
        "nature",
        "A young {q} is called a {z}.",
        """
        dog: puppy / cat: kitten; cow: calf / horse: foal; sheep: lamb / goat: kid;
        bear: cub / deer: fawn; swan: cygnet / goose: gosling; kangaroo: joey / tiger: cub;
        frog: tadpole / bird: chick; elephant: calf / zebra: foal; lion: cub / whale: calf;
        donkey: foal / seal: pup
        """,
    ),
    (
        "kinds",
        "nature",
        "{q} is a kind of {z}.",
        """
        a carrot: vegetable / a robin: bird; a salmon: fish / an oak: tree;
        a rose: flower / an ant: insect; iron: metal / an apple: fruit;
        a violin: instrument / a sofa: furniture; a cabbage: vegetable / a trout: fish;
        an eagle: bird / a pine: tree; a tulip: flower / a banana: fruit;
        copper: metal / a wasp: insect; a sparrow: bird / a shark: fish
        """,
    ),
    (
        "colors",
        "things",
        "The color of {q} is {z}.",
        """
        snow: white / grass: green; blood: red / coal: black; milk: white / chocolate: brown;
        a ripe banana: yellow / a ripe tomato: red; an emerald: green / a ruby: red;
        a lemon: yellow / a carrot: orange; salt: white / soot: black;
        a cloudless sky: blue / a sunflower: yellow; a pumpkin: orange / a cucumber: green;
        a polar bear: white / a raven: black
        """,
    ),
    (
        "materials",
        "things",
        "{q} is made of {z}.",
        """
        a window: glass / a tire: rubber; a candle: wax / a book: paper;
        a sweater: wool / a saddle: leather; a brick: clay / a plank: wood;
        a mirror: glass / an undershirt: cotton; an eraser: rubber / an envelope: paper;
        a key: metal / a pillowcase: cotton; a wine bottle: glass / a bookcase: wood;
        a sword: steel / a scarf: wool; an anvil: iron / a balloon: rubber
        """,
    ),
    (
        "tools",
        "things",
        "People {q} with {z}.",
        """
        cut paper: scissors / dig holes: shovels; sweep floors: brooms / eat soup: spoons;
        drive in nails: hammers / sew clothes: needles; write letters: pens / paint walls: brushes;
        chop wood: axes / catch fish: nets; open locks: keys / watch stars: telescopes;
        take pictures: cameras / tell the time: clocks;
        measure temperature: thermometers / weigh things: scales;
        play tennis: rackets / shoot arrows: bows; row boats: oars / dry their hands: towels
        """,
    ),
    (
        "places",
        "life",
        "To see {q}, go to the {z}.",
        """
        patients: hospital / books: library; planes: airport / ships: harbor;
        lions: zoo / paintings: museum; cows: farm / trains: station;
        fresh bread: bakery / money: bank; priests: church / actors: theater;
        judges: court / pupils: school; camels: desert / whales: ocean;
        trees: forest / waves: beach; prisoners: jail / swimmers: pool
        """,
    ),
    (
        "jobs",
        "life",
        "Someone who {q} is called a {z}.",
        """
        flies planes: pilot / fixes pipes: plumber; treats teeth: dentist / cuts hair: barber;
        grows crops: farmer / repairs cars: mechanic;
        operates on patients: surgeon / cooks in a restaurant: chef;
        makes suits: tailor / sells meat: butcher;
        writes for a newspaper: journalist / takes pictures: photographer;
        tends sheep: shepherd / builds with wood: carpenter;
        carves statues: sculptor / fights in a war: soldier;
        lends books: librarian / looks after the sick: nurse;
        performs tricks: magician / rides in horse races: jockey
        """,
    ),
    (
        "opposites",
        "words",
        "The opposite of {q} is {z}.",
        """
        hot: cold / big: small; up: down / left: right; day: night / summer: winter;
        black: white / true: false; early: late / young: old; rich: poor / wet: dry;
        open: closed / full: empty; love: hate / war: peace; fast: slow / strong: weak;
        first: last / good: bad
        """,
    ),
    (
        "months",
        "words",
        "The month {q} is {z}.",
        """
        after March: April / before March: February; after July: August / before July: June;
        after October: November / before October: September; after May: June / before May: April;
        after August: September / before August: July; after January: February /
        before January: December; after April: May / before April: March;
        after November: December / before November: October;
        after September: October / before September: August; after June: July / before June: May
        """,
    ),
]


def facts() -> Iterator[Paradigm]:
    """Yield the paradigms of facts."""
    for name, field, template, text in FACTS:
        pairs: list[Pair] = []
        for couple in text.split(";"):
            (q1, z1), (q2, z2) = (fact.split(":") for fact in couple.split("/"))
            for asked, right, wrong in ((q1, z1, z2), (q2, z2, z1)):
                texts = [template.format(q=asked.strip(), z=z.strip()) for z in (right, wrong)]
                pairs.append((capital(texts[0]), capital(texts[1])))
        yield name, field, pairs


# --- files --------------------------------------------------------------------------------------
FILES = {"sums": sums, "beliefs": beliefs, "facts": facts}


def capital(text: str) -> str:
    """The text with a capital at the start."""
    return text[0].upper() + text[1:]


def build(name: str) -> bytes:
    """Return the bytes of a file."""
    lines: list[str] = []
    for uid, field, pairs in FILES[name]():
        for number, (good, bad) in enumerate(pairs):
            record = {"sentence_good": good, "sentence_bad": bad, "UID": uid, "field": field}
            lines.append(json.dumps({**record, "pairID": str(number)}) + "\n")
    return "".join(lines).encode("utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, or with --check only compare them."""
    parser = argparse.ArgumentParser(description="Write sums.jsonl, beliefs.jsonl, facts.jsonl.")
    parser.add_argument("--check", action="store_true", help="exit 1 if a file differs")
    check: bool = parser.parse_args(arguments).check
    for name in FILES:
        path, data = FOLDER / f"{name}.jsonl", build(name)
        if not check:
            path.write_bytes(data)
        elif not path.is_file() or path.read_bytes() != data:
            print(f"{path.name} differs from what {Path(__file__).name} writes", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
