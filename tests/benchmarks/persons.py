"""Persons with known truth and the noise of real customer files, for any number of records and seed.

A person has one to four records. Noise: typos, swapped and abbreviated names, nicknames, missing fields, other
formats of phone numbers, e-mail addresses and dates, changed addresses, moved homes, defaults that stand for nothing.
Hard negatives: households (one surname, city and landline, sometimes one address), fathers and sons of one name,
namesakes. But no two households have one e-mail address or one number, for providers see to that: drawn at random, a
million records held 40,000 pairs of namesakes with one address and as many strangers with one number.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate

import pyarrow as pa

SYLLABLES = (
    "an ar be ber bo bri ca cha da de der do el en er fa fe fi ga ger ha hei hol im in ja jo ka kel ko la le li lo "
    "ma mar me mi mo na ne ni no o pa per pi ra re ri ro ru sa schu se si so ste ta te tho ti to u va ve vi wa we win"
).split()
HOSTS = ["mail", "post", "web"]
SCHEMA = pa.schema(
    [pa.field(n, pa.string()) for n in ("id", "first", "last", "email", "phone", "born", "city", "truth")]
)
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Noise:
    """How often what happens to a record."""

    typo: float = 0.12
    swapped: float = 0.06
    nickname: float = 0.06
    initial: float = 0.04
    missing: float = 0.15
    changed: float = 0.08
    moved: float = 0.12
    reformatted: float = 0.4
    default: float = 0.02
    misdated: float = 0.03


@dataclass(frozen=True)
class Person:
    """The truth."""

    first: str
    last: str
    email: str
    phone: str
    born: tuple[int, int, int]
    city: str


class Names:
    """A vocabulary whose words are as unequally common as names are."""

    def __init__(self, rng: random.Random, size: int, syllables: tuple[int, int]) -> None:
        """`size` different words."""
        words: dict[str, None] = {}
        while len(words) < size:
            words["".join(rng.choices(SYLLABLES, k=rng.randint(*syllables))).capitalize()] = None
        self.words = list(words)
        self.weights = list(accumulate(1 / (rank + 20) for rank in range(size)))

    def draw(self, rng: random.Random) -> str:
        """One word, the common ones more often."""
        return rng.choices(self.words, cum_weights=self.weights)[0]


class Register:
    """E-mail addresses and phone numbers as providers give them out: each once."""

    def __init__(self, rng: random.Random) -> None:
        """None is taken."""
        self._rng, self._taken = rng, set[str]()

    def phone(self) -> str:
        """A free number."""
        number = self._phone()
        while number in self._taken:
            number = self._phone()
        self._taken.add(number)
        return number

    def email(self, name: str, host: str) -> str:
        """A free address of a name: half are without a number, and larger ones come where small ones are taken."""
        number, most = self._rng.choice(["", str(self._rng.randint(1, 99))]), 99
        while (address := f"{name}{number}@{host}.example") in self._taken:
            number, most = str(self._rng.randint(1, most)), most * 2
        self._taken.add(address)
        return address

    def _phone(self) -> str:
        return f"30{self._rng.randint(10**6, 10**7 - 1)}"


def persons(records: int, seed: int, noise: Noise | None = None, skew: float = 0) -> pa.Table:
    """About so many records under `SCHEMA`; of the records a share of `skew` has one last name and one city."""
    rng, noise = random.Random(seed), noise or Noise()
    vocabulary = random.Random(1000 + seed)
    firsts, lasts = Names(vocabulary, 1500, (2, 3)), Names(vocabulary, 20_000, (2, 4))
    cities, register = Names(vocabulary, 400, (2, 4)), Register(rng)
    rows: list[tuple[str | None, ...]] = []
    number = 0
    while len(rows) < records:
        for person in _household(rng, register, firsts, lasts, cities):
            skewed = replace(person, last="Smith", city="London") if rng.random() < skew else person
            for _ in range(rng.choices((1, 2, 3, 4), (55, 30, 11, 4))[0]):
                rows.append((f"r{rng.getrandbits(48):012x}", *_record(rng, register, skewed, noise), f"p{number}"))
            number += 1
    rng.shuffle(rows)
    columns = list(zip(*rows[:records], strict=True))
    return pa.Table.from_arrays([pa.array(column, pa.string()) for column in columns], schema=SCHEMA)


def _household(rng: random.Random, register: Register, firsts: Names, lasts: Names, cities: Names) -> Iterator[Person]:
    last, city, landline = lasts.draw(rng), cities.draw(rng), register.phone()
    size = rng.choices((1, 2, 3, 4), (70, 16, 9, 5))[0]
    family = register.email(last.lower(), "mail")
    namesake = firsts.draw(rng) if rng.random() < 0.1 else None
    for member in range(size):
        first = namesake if namesake and member < 2 else firsts.draw(rng)
        start = 1940 if member < 2 and not namesake else 1940 + 25 * member
        year = rng.randint(start, 2004) if member < 2 and not namesake else rng.randint(start, start + 25)
        own = register.email(f"{first.lower()}.{last.lower()}", rng.choice(HOSTS))
        phone = landline if size > 1 and rng.random() < 0.4 else register.phone()
        email = family if size > 1 and rng.random() < 0.15 else own
        yield Person(first, last, email, phone, (min(year, 2010), rng.randint(1, 12), rng.randint(1, 28)), city)


def _record(rng: random.Random, register: Register, person: Person, noise: Noise) -> tuple[str | None, ...]:
    hit = rng.random
    first, last = person.first, person.last
    if hit() < noise.nickname:
        first = first[:3] + "y"
    elif hit() < noise.initial:
        first = first[0] + "."
    first, last = (_typo(rng, name) if hit() < noise.typo else name for name in (first, last))
    if hit() < noise.swapped:
        first, last = last, first
    email, phone, city, born = person.email, person.phone, person.city, person.born
    if hit() < noise.changed:
        email = register.email(f"{rng.choice(LETTERS)}{last.lower()}", "new")
    if hit() < noise.changed:
        phone = register.phone()
    if hit() < noise.moved:
        city = f"{LETTERS[rng.randint(0, 25)]}{LETTERS[rng.randint(0, 25)]}stadt"
    if hit() < noise.misdated:
        born = (born[0], born[2] % 12 + 1, born[1])
    shown = [_email(rng, email, noise), _phone_text(rng, phone, noise), _date(rng, born, noise), city]
    if hit() < noise.default:
        shown[0] = "unknown@unknown"
    if hit() < noise.default:
        shown[1] = "000-0000000"
    return first, last, *(None if hit() < noise.missing else text for text in shown)


def _typo(rng: random.Random, word: str) -> str:
    at, letter = rng.randrange(len(word)), rng.choice(LETTERS)
    kind = rng.randrange(4)
    if kind == 0:
        return word[:at] + letter + word[at + 1 :]
    if kind == 1:
        return word[:at] + letter + word[at:]
    if kind == 2 and len(word) > 2:
        return word[:at] + word[at + 1 :]
    return word[:at] + word[at : at + 2][::-1] + word[at + 2 :]


def _email(rng: random.Random, email: str, noise: Noise) -> str:
    if rng.random() > noise.reformatted:
        return email
    name, _, host = email.partition("@")
    return rng.choice([email.upper(), f" {email}", f"{name}+news@{host}", email.title()])


def _phone_text(rng: random.Random, phone: str, noise: Noise) -> str:
    if rng.random() > noise.reformatted:
        return f"0{phone}"
    return rng.choice([f"+49 {phone[:2]} {phone[2:5]} {phone[5:]}", f"0049-{phone}", f"(0{phone[:2]}) {phone[2:]}"])


def _date(rng: random.Random, born: tuple[int, int, int], noise: Noise) -> str:
    year, month, day = born
    return f"{day:02}.{month:02}.{year}" if rng.random() < noise.reformatted else f"{year}-{month:02}-{day:02}"
