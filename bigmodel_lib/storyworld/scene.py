"""The scene that sentences change."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bigmodel_lib.storyworld import sentences as said
from bigmodel_lib.storyworld.sentences import Construction, Filling

if TYPE_CHECKING:
    from bigmodel_lib.storyworld.world import StoryWorld


class Scene:
    """What is the case after the sentences told so far."""

    def __init__(self, world: "StoryWorld"):
        self.world = world
        self.places: tuple[str, ...] = ()
        self.place: dict[str, str] = {}  # of each person
        self.at: dict[str, str] = {}  # of each thing: the place where it is, or the person who has it
        self.hidden: set[str] = set()
        self.looks: dict[str, str] = {}
        self.been: set[tuple[str, str]] = set()  # (person, place)
        self.thinks: dict[tuple[str, str], str | None] = {}  # where a person thinks that a thing is
        self.wants: dict[str, str] = {}
        self.mood: dict[str, tuple[str, tuple[str, ...]]] = {}  # of a person: the feeling, and why
        self.topic: str | None = None  # whom a pronoun would mean
        self.moved: tuple[str, str | None, str] | None = None  # who went from where to where in the last sentence
        self.asked: tuple[str, ...] | None = None  # the question that waits for an answer
        self.recent: tuple[Construction, ...] = ()  # the last four constructions
        self.sentences = 0
        self.tokens = 0
        self.over = False
        self.look_around()

    def look_around(self) -> None:
        """Set down who is with whom and what is in view, which most constructions ask for."""
        place, at = self.place, self.at
        self.people = list(place)
        self.together = [(a, b) for a in place for b in place if a != b and place[a] == place[b]]
        self.company = dict.fromkeys(place, 0)
        for a, _ in self.together:
            self.company[a] += 1
        self.has = [(where, t) for t, where in at.items() if where in place]
        self.sees = [(a, t) for t, where in at.items() if where not in place for a in place
                     if place[a] == where and (t not in self.hidden or self.thinks.get((a, t)) == where)]  # fmt: skip

    def move(self, person: str, place: str) -> None:
        """Go somewhere, see what lies there in view and who holds what, and be seen with what one holds."""
        self.moved = (person, self.place.get(person), place)
        self.place[person] = place
        self.been.add((person, place))
        for thing, where in self.at.items():
            if where == place and thing not in self.hidden or self.place.get(where) == place:
                self.see(thing, place)

    def see(self, thing: str, place: str) -> None:
        for person, here in self.place.items():
            if here == place:
                self.thinks[person, thing] = self.at[thing]

    def put(self, thing: str, where: str) -> None:
        """Bring a thing to a place or into a person's hands; all who are there see it."""
        self.at[thing] = where
        self.hidden.discard(thing)
        self.see(thing, self.place.get(where, where))

    def after(self, construction: Construction, filling: Sequence[str], pronoun: bool) -> None:
        """Let a sentence have been told."""
        question, self.moved = self.asked, None
        construction.then(self, *filling)
        if self.asked is question:  # an answer may look at what was asked; then it is answered
            self.asked = None
        self.wants = {person: thing for person, thing in self.wants.items() if self.at[thing] != person}
        subject = filling[construction.subject] if construction.subject is not None else None
        pronouns = [said.PEOPLE[word][0] for word in {*filling} if word in said.PEOPLE]
        self.topic = subject if subject and pronouns.count(said.PEOPLE[subject][0]) == 1 else None
        self.recent = (construction, *self.recent[:3])
        self.sentences += 1
        self.tokens += construction.length
        self.look_around()

    def ways(self, construction: Construction, filling: Filling) -> tuple[bool, ...]:
        """Whether to tell it with a pronoun: with or without one where it leaves no doubt, else without."""
        subject = construction.subject
        return (True, False) if subject is not None and filling[subject] == self.topic else (False,)

    def facts(self) -> dict[tuple[str, ...], Any]:
        """What is the case, {(kind, who or what): where or what}."""
        return {
            **{("person", a): x for a, x in self.place.items()},
            **{("thing", t): x for t, x in self.at.items()},
            **{("thinks", *key): x for key, x in self.thinks.items()},
            **{("feels", a): (feeling, *why) for a, (feeling, why) in self.mood.items()},
        }
