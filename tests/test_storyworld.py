"""The story world is an instrument: its probabilities, facts and supports are held against readings made elsewhere."""

import collections
import math
import re

import numpy as np
import pytest

from bigmodel_lib.errors import CourseError
from bigmodel_lib.storyworld import END, NotInLanguage, StoryWorld, text_of, words_of
from bigmodel_lib.storyworld import sentences as said
from bigmodel_lib.storyworld.scene import Scene

WORLD = StoryWorld()
# few enough constructions that every story can be told
FEW = (
    "The house had {x.a} , {y.a} and {z.a} .", "{A} was in the {x} .", "{B} was there too .", "{A} had {T.a} .",
    "There {T.was} {T.a} in the {x} .", "{A} went to the {x} .", "{A} picked up the {T} .", "{A} wanted the {T} .",
    "{A} asked {B} for the {T} .", "{B} said no .", "So {B} gave {A} the {T} .", "{A} thanked {B} .",
    "In the end {A} had the {T} .", "So {A} stayed in the {x} .",
)  # fmt: skip
SMALL = StoryWorld(["Anna", "Ben"], ["hall", "attic", "study"], ["lamp"], longest=42)
SMALL.tables = {name: [c for c in table if c.english in FEW] for name, table in SMALL.tables.items()}
SMALL.stop = 0.5


def stories(count, seed=0, world=WORLD):
    rng = np.random.default_rng(seed)
    return [world.sample(rng) for _ in range(count)]


@pytest.fixture(scope="module")
def many():
    """Enough stories for every construction: the rarest is in 23 of 10,000, so 0.3 % of such samples would miss it."""
    return stories(2500)


@pytest.fixture(scope="module")
def varied(many):
    """A few dozen stories that together tell every construction, with a pronoun too where one may stand."""
    told, kept = set(), []
    for story in many:
        new = {(step.construction, step.pronoun) for step in story.steps} - told
        if new:
            told |= new
            kept.append(story)
    return kept


@pytest.fixture(scope="module")
def every():
    """Every story of the small world, {tokens: probability}, told by walking through all sentences."""

    def walk(steps):
        scene = Scene(SMALL)
        for step in steps:
            scene.after(*step[:3])
        if scene.over:
            yield steps
            return
        for step in SMALL.sentences(scene).values():
            yield from walk((*steps, step))

    found = {}
    for steps in walk(()):
        tokens = tuple(token for step in steps for token in step.construction.tell(*step[1:3]).split())
        assert tokens not in found, f"told in two ways: {' '.join(tokens)}"
        found[tokens] = math.exp(sum(step.log_prob for step in steps))
    return found


# probabilities


def test_all_stories_of_a_small_world_together_have_probability_one(every):
    assert len(every) > 10_000
    assert abs(math.fsum(every.values()) - 1) < 1e-9


def test_next_token_probabilities_are_those_of_all_stories(every):
    after = collections.defaultdict(collections.Counter)
    for story, p in every.items():
        for length in range(len(story) + 1):
            after[story[:length]][story[length] if length < len(story) else END] += p
    open_ones = [prefix for prefix, wanted in after.items() if len(wanted) > 1]
    drawn = np.random.default_rng(0).integers(0, len(open_ones), 200)
    for prefix in [(), max(after, key=len), *(open_ones[i] for i in drawn)]:
        wanted, given = after[prefix], SMALL.next_token_probs(list(prefix))
        total = sum(wanted.values())
        assert given.keys() == wanted.keys()
        assert all(abs(given[token] - p / total) < 1e-9 for token, p in wanted.items())


def beginnings_and_sentences(tokens):
    """How a story begins, and which sentence stands where in it."""
    told = " ".join(tokens).split(" . ")
    return {tuple(told[:4]), *enumerate(told)}


def test_the_sampler_follows_the_probabilities(every):
    """Each count is binomial, so its distance from the mean, in standard deviations, is about normal."""
    count, wanted = 10_000, collections.Counter()
    for story, p in every.items():
        wanted.update(dict.fromkeys(beginnings_and_sentences(story), p))
    found = collections.Counter()
    for story in stories(count, 1, SMALL):
        found.update(beginnings_and_sentences(story.tokens))
    often = {part: p for part, p in wanted.items() if 20 < count * p < count - 20}
    z = [(found[part] - count * p) / math.sqrt(count * p * (1 - p)) for part, p in often.items()]
    assert found.keys() <= wanted.keys() and len(z) > 200
    assert max(map(abs, z)) < 5  # in one of 6,000 samples, if all 275 were independent
    assert abs(np.mean(np.square(z)) - 1) < 0.4


def test_the_sampler_records_what_the_scorer_finds(varied, many):
    for story in [*varied, *many[:200]]:
        assert abs(WORLD.log_prob(story.text) - story.log_prob) < 1e-9


def test_the_tokens_share_the_probability_of_the_story():
    for story in stories(30, 2):
        found = story.token_log_probs()
        assert len(found) == len(story.tokens) + 1 and abs(found.sum() - story.log_prob) < 1e-9
        for place in (0, 9, len(story.tokens) // 2, len(story.tokens) - 1):
            p = WORLD.next_token_probs(text_of(story.tokens[:place]))
            assert abs(sum(p.values()) - 1) < 1e-9
            assert abs(math.log(p[story.tokens[place]]) - found[place]) < 1e-9


def test_sentences_of_a_scene_are_different_and_end_where_they_end():
    for story in stories(50, 3):
        scene = Scene(WORLD)
        for step in story.steps:
            told = WORLD.sentences(scene)
            ways = sum(
                1 + (construction.subject is not None and filling[construction.subject] == scene.topic)
                for _, construction, fillings in WORLD.options(scene)
                for filling in fillings
            )
            assert len(told) == ways
            assert all(sentence.index(".") == len(sentence) - 1 for sentence in told)
            assert all(len(s) == step.construction.length for s, step in told.items())
            assert abs(sum(math.exp(s.log_prob) for s in told.values()) - 1) < 1e-9
            scene.after(*step[:3])


@pytest.mark.parametrize("seed", range(3))
def test_a_text_outside_the_language_is_impossible_and_says_where(seed):
    rng = np.random.default_rng(seed)
    for story in stories(20, seed + 10):
        tokens = list(story.tokens)
        place = int(rng.integers(len(tokens)))
        possible = WORLD.next_token_probs(tokens[:place])
        tokens[place] = rng.choice([w for w in ("lamp", "the", "Anna", ".", "xyzzy") if w not in possible])
        assert WORLD.log_prob(text_of(tokens)) == -math.inf
        with pytest.raises(NotInLanguage) as error:
            WORLD.parse(text_of(tokens))
        assert error.value.position == place


def test_words_are_letters_signs_and_marks():
    assert words_of("<story> It's a lamp.<end>") == ["<story>", "It", "'", "s", "a", "lamp", ".", END]


def test_a_text_that_stops_early_or_goes_on_is_impossible():
    story = stories(1, 5)[0]
    for tokens, place in ((story.tokens[:30], 30), ([*story.tokens, "Anna"], len(story.tokens))):
        with pytest.raises(NotInLanguage) as error:
            WORLD.parse(text_of(tokens))
        assert error.value.position == place
    assert WORLD.next_token_probs(story.text) == {END: 1.0}
    with pytest.raises(NotInLanguage):
        WORLD.next_token_probs(story.text + " Anna")


# richness


def test_the_language_is_no_toy(many):
    told = collections.Counter(step.construction.english for story in many for step in story.steps)
    shares = np.array(list(told.values())) / sum(told.values())
    assert len(told) == len({c.english for c in WORLD.constructions}) >= 100 and shares.max() < 0.08
    assert all(20 <= len(story.tokens) <= 120 for story in many)
    assert len({token for story in many for token in story.tokens}) >= 150
    assert len({story.text for story in many}) == len(many)


def test_longest_holds_whatever_comes_last():
    most = max(c.length for c in WORLD.constructions)
    answers = max(c.length for c in WORLD.tables["ANSWERS"])
    asks = max(c.length for c in WORLD.tables["FREE"] if " asked " in c.english or "Please" in c.english)
    endings = max(c.length for c in WORLD.tables["ENDINGS"])
    assert WORLD.longest - 1 + max(most, asks + answers) + endings <= 120


@pytest.mark.parametrize("window, cost", [(4, 0.2), (16, 0.05)])
def test_hiding_all_but_the_last_tokens_costs_something(window, cost):
    """The best reader who sees 4 tokens, or 16, but is told the whole plot without the names in it, is above the floor.

    So is every model of 5-grams, however long the text that it counts. Names of one kind (she, he, a place with "an",
    …) are interchangeable, so to that reader all that are outside the last tokens are equally probable: the exact
    probability is averaged over them.
    """
    kinds = collections.defaultdict(list)
    for name, (pronoun, _) in said.PEOPLE.items():
        kinds[pronoun].append(name)
    for word in (*said.PLACES, *said.THINGS):
        kinds[word in said.PLACES, word in said.PLURAL, word[0] in "aeiou"].append(word)
    kind = {word: members for members in kinds.values() for word in members}
    lost, n = 0.0, 0
    for story in stories(60, 8):
        scene, past = Scene(WORLD), []
        for step, sentence in zip(story.steps, story.sentences, strict=True):
            possible = [(told, math.exp(s.log_prob)) for told, s in WORLD.sentences(scene).items()]
            for place, token in enumerate(sentence):
                hidden = [w for w in kind.get(token, ()) if w not in past[-window:]]
                if token in hidden:
                    mass = collections.Counter()
                    for told, p in possible:
                        mass[told[place]] += p
                    lost += math.log(mass[token]) - math.log(sum(mass[w] for w in hidden) / len(hidden))
                possible = [(told, p) for told, p in possible if told[place] == token]
                past.append(token)
            scene.after(*step[:3])
        n += len(past) + 1
    assert lost / n > cost


# what is known of a story


# sentences after which nobody and nothing is elsewhere
QUIET = re.compile(
    "want|think|thought|told|said that|lied|knew|know|remember|now|because of|asked|happy|sad|angry|liked|hear |both"
    "|alone|stayed|In the end|evening|that day|Nobody|noise|looked at|showed|shouted"
)


def read_places(story):
    """{person: place} and {thing: person or place} by rules that know sentences, not scenes."""
    place, at = {}, {}

    def carry(thing, who):
        at[thing] = who

    names, things, places = ("|".join(d) for d in (said.PEOPLE, said.THINGS, said.PLACES))
    last, asked = None, None
    for tokens in story.sentences[1:]:
        sentence = " ".join(tokens)
        if tokens[0] in ("She", "He"):
            sentence = last + sentence[len(tokens[0]) :]
        who = re.findall(rf"\b({names})\b", sentence)
        what = re.findall(rf"\b({things})\b", sentence)
        where = re.findall(rf"\b({places})\b", sentence)
        if who and sentence.startswith(who[0]):
            last = who[0]
        if QUIET.search(sentence) and not re.search("could hear|ran to", sentence):
            asked = (who, what) if " asked " in sentence else asked
            continue
        if "Please" in sentence:
            asked = (who + [at[what[0]]], what)
        elif "could hear" in sentence:
            place[who[1]] = where[0]
        elif re.search("together|were in|met in", sentence):
            place[who[0]] = place[who[1]] = where[0]
        elif "While" in sentence and "away" not in sentence:
            place[who[1]] = where[1]
            carry(what[0], who[1])
        elif re.search("there too|sat beside", sentence):
            new = who[0]
            place[new] = next(x for p, x in place.items() if p != new)
        elif "left the" in sentence and "went" in sentence:
            place[who[0]] = where[1]
        elif re.search("sorry|comforted|thanked|smiled|cried|shook|said no|“ (?!Here)", sentence):
            pass
        elif "Here you are" in sentence or sentence.startswith("So"):
            carry(asked[1][0], asked[0][0])
        elif "swapped" in sentence:
            carry(what[0], who[1])
            carry(what[1], who[0])
        elif "given to" in sentence:
            carry(what[0], who[0])
        elif re.search(" gave ", sentence):
            carry(what[0], who[1])
        elif re.search("took .* from|picked up|had a|had some|holding|carrying", sentence) or "found" in sentence:
            carry(what[0], who[0])
        elif "took the" in sentence:
            place[who[0]] = where[0]
            carry(what[0], who[0])
        elif re.search(r"put down|dropped|left the|hid the", sentence):
            carry(what[0], place[who[-1]])
        elif re.search(r"There|lay|saw|On the floor", sentence) and what:
            carry(what[0], where[0])
        elif "looking for" in sentence or ("looked for" in sentence and what):
            pass
        elif who and where:
            place[who[0]] = where[0]
    return place, at


def test_facts_are_what_a_second_reader_finds(varied, many):
    for story in [*varied, *many[:300]]:
        place, at = read_places(story)
        facts = story.facts[-1]
        assert place == {fact[1]: x for fact, x in facts.items() if fact[0] == "person"}, story.text
        assert at == {fact[1]: x for fact, x in facts.items() if fact[0] == "thing"}, story.text


def test_what_happens_out_of_sight_leaves_a_false_belief():
    story = WORLD.parse(
        "The house had a kitchen, a hall and an attic. Anna and Ben were in the kitchen. "
        "There was a lamp in the kitchen. Ben went to the hall. While Ben was in the hall, Anna took the lamp to the "
        "attic. Ben wanted the lamp. "
        "Ben still thought that the lamp was in the kitchen. In the end Anna had the lamp."
    )
    answers = {q.text: q.answer for q in story.questions()}
    assert answers["Where does Ben think the lamp is?"] == "in the kitchen"
    assert answers["Where is the lamp?"] == "in the attic" and answers["Who has the lamp?"] == "Anna"
    support = next(q.support for q in story.questions() if q.text == "Where is the lamp?")
    assert {story.tokens[p] for p in support} == {"Anna", "lamp", "attic"}
    assert story.summary() == ("Anna came to have the lamp.", "灯最后到了安娜手里。")


def test_an_answer_changes_only_with_tokens_that_support_it():
    """Where a story is one with another room in one place, only what that place supports, before or after, changes."""
    changed_answers = kept_answers = 0
    for story in stories(40, 9):
        rooms, begin = story.steps[0].filling, len(story.sentences[0])
        for place, word in enumerate(story.tokens[begin:], start=begin):
            for new in set(rooms) - {word} if word in rooms else ():
                try:
                    other = WORLD.parse([*story.tokens[:place], new, *story.tokens[place + 1 :]])
                except NotInLanguage:
                    continue
                asked = {q.text: q for q in other.questions()}
                for q in story.questions():
                    now = asked.get(q.text)
                    if now and now.answer == q.answer:
                        kept_answers += place not in q.support
                    elif now and q.kind in ("person", "thing", "holder", "feels", "thinks"):
                        assert place in {*q.support, *now.support}, (story.text, other.text, q)
                        changed_answers += 1
    assert changed_answers > 30 and kept_answers > 30


def test_supports_are_tokens_that_name_what_is_asked(many):
    for story in many[:300]:
        for q in story.questions():
            assert q.support and all(0 <= p < len(story.tokens) for p in q.support)
            if q.kind in ("person", "thing", "thinks"):
                assert q.answer.split()[-1] in {story.tokens[p] for p in q.support}, (story.text, q)


def test_a_pronoun_is_told_as_often_as_a_name(many):
    told = []
    for story in many[:1500]:
        scene = Scene(WORLD)
        for c, filling, pronoun, _ in story.steps:
            if c.subject is not None and filling[c.subject] == scene.topic:
                told.append(pronoun)
            scene.after(c, filling, pronoun)
    assert len(told) > 1000 and abs(np.mean(told) - 0.5) < 4 * 0.5 / math.sqrt(len(told))


def test_pronouns_have_one_antecedent(many):
    count = 0
    for story in many[:1000]:
        for pronoun, name in story.antecedents.items():
            count += 1
            assert said.PEOPLE[story.tokens[name]][0] == story.tokens[pronoun].lower() and name < pronoun
            before = story.tokens[:pronoun]
            last = before[len(before) - 1 - before[-2::-1].index(".") :] if "." in before[:-1] else before
            rivals = {word for word in last if word in said.PEOPLE} - {story.tokens[name]}
            assert all(said.PEOPLE[rival][0] != story.tokens[pronoun].lower() for rival in rivals)
    assert count > 300


def test_summaries_are_true(many):
    for story in many[:500]:
        english, chinese = story.summary()
        things = [t for t in said.THINGS if t in words_of(english)]
        where = [w for w in words_of(english) if w in said.PEOPLE or w in said.PLACES]
        assert len(things) == len(where) == 1 and story.facts[-1]["thing", things[0]] == where[0]
        first = next(f["thing", things[0]] for f in story.facts if ("thing", things[0]) in f)
        assert ("at the start" in english) == (first == where[0])
        assert said.CHINESE[things[0]][""] in chinese and said.CHINESE[where[0]][""] in chinese


def test_the_chinese_is_a_function_of_the_english(varied):
    for story in varied:
        assert WORLD.parse(story.text).chinese == story.chinese
        assert not re.search("[A-Za-z{}]", story.chinese) and story.chinese.endswith("。")


def test_a_seed_tells_the_same_stories():
    assert [s.text for s in stories(20, 4)] == [s.text for s in stories(20, 4)] != [s.text for s in stories(20, 5)]


@pytest.mark.parametrize(
    ("names", "words"), [({"people": ["Anna"]}, "at least 2"), ({"places": ["moon", "hall", "study"]}, "at least 3"),
                         ({"things": []}, "at least 1")]
)  # fmt: skip
def test_a_world_needs_known_names(names, words):
    with pytest.raises(CourseError, match=words):
        StoryWorld(**names)
