"""The story world's words and sentences: what can be said, when it may be said, and what it changes.

A row of a table is a `Construction`: weight, slots, English, Chinese, when, then. `when(scene)` lists the fillings of the
slots that the scene allows; `then(scene, *filling)` changes the scene. In a template `{A}` is a person, `{T}` a thing,
`{x}` a place, and a form follows a dot: `{A.he}`, `{T.was}`, `{x.a}`. In English `{A}` at the start of a sentence may
also be told as a pronoun, where the sentence before leaves no doubt who is meant.
"""

import dataclasses
import re
from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Any

SLOT = re.compile(r"\{([A-Za-z])\.?(\w*)\}")  # in a template: (slot, form)
PEOPLE = {  # name: pronoun, Chinese
    "Anna": ("she", "安娜"), "Mei": ("she", "小梅"), "Lena": ("she", "莱娜"),
    "Sara": ("she", "萨拉"), "Yuki": ("she", "由纪"), "Lucia": ("she", "露西娅"),
    "Ben": ("he", "阿本"), "Omar": ("he", "奥马尔"), "Tom": ("he", "汤姆"),
    "Ivan": ("he", "伊万"), "Amir": ("he", "阿米尔"), "Kofi": ("he", "科菲"),
}  # fmt: skip
PLACES = {
    "kitchen": "厨房", "bathroom": "浴室", "hall": "大厅", "garage": "车库", "attic": "阁楼",
    "bedroom": "卧室", "office": "办公室", "cellar": "地下室", "study": "书房",
}  # fmt: skip
THINGS = {  # noun: Chinese, its measure word; the last four are plural
    "lamp": ("灯", "盏"), "book": ("书", "本"), "cup": ("杯子", "个"), "ball": ("球", "个"), "hat": ("帽子", "顶"),
    "letter": ("信", "封"), "clock": ("钟", "个"), "drum": ("鼓", "面"), "kite": ("风筝", "只"), "knife": ("刀", "把"),
    "map": ("地图", "张"), "apple": ("苹果", "个"), "umbrella": ("雨伞", "把"),
    "shoes": ("鞋子", ""), "coins": ("硬币", ""), "gloves": ("手套", ""), "pencils": ("铅笔", ""),
}  # fmt: skip
PLURAL = ("shoes", "coins", "gloves", "pencils")
LOOKS = {
    "red": "红色", "blue": "蓝色", "green": "绿色", "old": "旧", "new": "新", "heavy": "重", "big": "大", "small": "小",
}  # fmt: skip
FEELINGS = {"happy": "高兴", "sad": "难过", "angry": "生气", "afraid": "害怕"}


def _article(word):
    return ("an " if word[0] in "aeiou" else "a ") + word


def _person_forms(name):
    she = PEOPLE[name][0] == "she"
    him, his = ("her", "her") if she else ("him", "his")
    return {
        "": name, "he": PEOPLE[name][0], "He": PEOPLE[name][0].capitalize(), "him": him, "his": his,
        "His": his.capitalize(), "kid": "girl" if she else "boy",
    }  # fmt: skip


def _thing_forms(noun):
    if noun in PLURAL:
        forms = {"a": "some " + noun, "was": "were", "is": "are", "it": "them", "they": "they", "They": "They"}
    else:
        forms = {"a": _article(noun), "was": "was", "is": "is", "it": "it", "they": "it", "They": "It"}
    return {"": noun, **forms}


def _chinese_person(name):
    she = PEOPLE[name][0] == "she"
    pronoun = "她" if she else "他"
    return {"": PEOPLE[name][1], "he": pronoun, "him": pronoun, "his": pronoun, "kid": "女孩" if she else "男孩"}


def _chinese_thing(noun):
    name, measure = THINGS[noun]
    it = "它们" if noun in PLURAL else "它"
    a = f"一些 {name}" if noun in PLURAL else f"一 {measure} {name}"
    return {"": name, "a": a, "it": it, "they": it}


# {word: {form: how it is said}}, in each language
ENGLISH = {
    **{name: _person_forms(name) for name in PEOPLE},
    **{noun: _thing_forms(noun) for noun in THINGS},
    **{place: {"": place, "a": _article(place)} for place in PLACES},
    **{word: {"": word} for word in (*LOOKS, *FEELINGS)},
}
CHINESE = {
    **{name: _chinese_person(name) for name in PEOPLE},
    **{noun: _chinese_thing(noun) for noun in THINGS},
    **{place: {"": chinese} for place, chinese in PLACES.items()},
    **{word: {"": chinese} for word, chinese in (LOOKS | FEELINGS).items()},
}


def words_for(world, slot):
    """What may stand in a slot: people in A, B, C, things in T, U, places in x, y, z, a look in L, a feeling in F."""
    kinds = {"ABC": world.people, "TU": world.things, "xyz": world.places, "L": LOOKS, "F": FEELINGS}
    return tuple(next(words for slots, words in kinds.items() if slot in slots))


# What opens a story, one table for each moment


def unused_people(s):
    return [name for name in s.world.people if name not in s.place]


def new_person(s, places):
    return [(name, x) for name in unused_people(s) for x in places]


def pairs_of_new_people(s):
    return [(a, b, x) for a, b in permutations(s.world.people, 2) for x in s.places]


def friend(s):
    return [(a, b, x) for a in s.people for b in unused_people(s) for x in s.places if x != s.place[a]]


def here(s):
    return [(a, b) for a in s.people for b in unused_people(s)]


def new_things(s):
    return [noun for noun in s.world.things if noun not in s.at]


def thing_somewhere(s):
    return [(t, x) for t in new_things(s) for x in s.places]


def thing_of(s):
    return [(a, t) for a in s.people for t in new_things(s)]


def thing_before(s):
    return [(a, t, s.place[a]) for a in s.people for t in new_things(s)]


def open_rooms(s, *rooms):
    s.places = rooms


def arrive(s, *filling):
    *people, place = filling
    for person in people:
        s.move(person, place)


SETTING = (
    (1, "xyz", "The house had {x.a} , {y.a} and {z.a} .", "房子 里 有 {x} 、 {y} 和 {z} 。"),
    (1, "xyz", "Once there was a house with {x.a} , {y.a} and {z.a} .",
     "从前 有 一 座 房子 ， 里面 有 {x} 、 {y} 和 {z} 。"),
    (1, "xyz", "This happened in {x.a} , {y.a} and {z.a} .", "这件事 发生 在 {x} 、 {y} 和 {z} 里 。"),
    (1, "xyz", "There were three rooms : {x.a} , {y.a} and {z.a} .", "有 三 个 房间 ： {x} 、 {y} 和 {z} 。"),
)  # fmt: skip
SETTING = tuple((*row, lambda s: list(permutations(s.world.places, 3)), open_rooms) for row in SETTING)

FIRST_PERSON = (
    (3, "Ax", "{A} was in the {x} .", "{A} 在 {x} 里 。", lambda s: new_person(s, s.places), arrive),
    (2, "Ax", "One day {A} was sitting in the {x} .", "有 一天 {A} 坐 在 {x} 里 。",
     lambda s: new_person(s, s.places), arrive),
    (2, "Ax", "In the {x} was a {A.kid} called {A} .", "{x} 里 有 一 个 叫 {A} 的 {A.kid} 。",
     lambda s: new_person(s, s.places), arrive),
    (2, "Ax", "A {A.kid} called {A} was working in the {x} .", "一 个 叫 {A} 的 {A.kid} 在 {x} 里 工作 。",
     lambda s: new_person(s, s.places), arrive),
    (2, "ABx", "{A} and {B} were in the {x} .", "{A} 和 {B} 在 {x} 里 。", pairs_of_new_people, arrive),
    (2, "ABx", "One morning {A} and {B} met in the {x} .", "一天 早上 {A} 和 {B} 在 {x} 里 见面 了 。",
     pairs_of_new_people, arrive),
)  # fmt: skip

SECOND_PERSON = (
    (2, "Bx", "{B} was reading in the {x} .", "{B} 在 {x} 里 看书 。",
     lambda s: new_person(s, [x for x in s.places if x not in s.place.values()]), arrive),
    (2, "AB", "{B} was there too .", "{B} 也 在 那里 。", here, lambda s, a, b: s.move(b, s.place[a])),
    (2, "ABx", "{A.His} friend {B} was in the {x} .", "{A.his} 的 朋友 {B} 在 {x} 里 。",
     friend, lambda s, a, b, x: s.move(b, x)),
    (2, "AB", "{B} sat beside {A.him} .", "{B} 坐 在 {A.him} 旁边 。", here, lambda s, a, b: s.move(b, s.place[a])),
    (2, "ABx", "{A} could hear {B} in the {x} .", "{A} 听到 {x} 里 {B} 的 声音 。",
     friend, lambda s, a, b, x: s.move(b, x)),
)  # fmt: skip

FIRST_THING = (
    (2, "Tx", "There {T.was} {T.a} in the {x} .", "{x} 里 有 {T.a} 。", thing_somewhere, lambda s, t, x: s.put(t, x)),
    (2, "AT", "{A} had {T.a} .", "{A} 有 {T.a} 。", thing_of, lambda s, a, t: s.put(t, a)),
    (2, "Tx", "In the {x} lay {T.a} .", "{x} 里 放 着 {T.a} 。", thing_somewhere, lambda s, t, x: s.put(t, x)),
    (2, "AT", "{A} was holding {T.a} .", "{A} 手里 拿 着 {T.a} 。", thing_of, lambda s, a, t: s.put(t, a)),
    (1, "ATx", "{A} saw {T.a} in the {x} .", "{A} 看到 {x} 里 有 {T.a} 。", thing_before, lambda s, a, t, x: s.put(t, x)),
)  # fmt: skip


# What may be said once the story is under way. s.together lists (a, b) in one room, s.has (a, t) for who holds what,
# s.sees (a, t) for what lies in view.


def elsewhere(s):
    return [(a, x) for a in s.people for x in s.places if x != s.place[a]]


def alone(s):
    return [(a, s.place[a]) for a in s.people if not any(a == p for p, _ in s.together)]


def unseen(s):
    """(a, t): a thing that a does not have and cannot see."""
    return [(a, t) for a in s.people for t in s.at if s.at[t] != a and (a, t) not in s.sees]


def sought(s):
    """(a, t): what a wants and does not see; then a may look for it, ask for it, go and get it."""
    return [(a, t) for a, t in s.wants.items() if (a, t) not in s.sees and s.place.get(s.at[t]) != s.place[a]]


def thinks_elsewhere(s):
    """(a, t, x): a thinks that t lies in another room x."""
    return [
        (a, t, x) for (a, t), x in s.thinks.items()
        if x in s.places and x != s.place[a] and s.at[t] != a and (a, t) not in s.sees
    ]  # fmt: skip


def moods(s, *feelings):
    return [(a, f, why) for a, (f, why) in s.mood.items() if f in feelings]


def because(s, reason):
    return [(a, *why[1:]) for a, (_, why) in s.mood.items() if why[0] == reason]


def away(s):
    """(b, y, a, t): a has t or sees it, and b is in another room y."""
    return [(b, s.place[b], a, t) for a, t in s.has + s.sees for b in s.people if s.place[b] != s.place[a]]


def take_along(s, b, y, a, t, x):
    s.put(t, a)
    s.move(a, x)


def hide_in_front_of_one(s):
    return [(b, a, t) for a, t in s.has for p, b in s.together if p == a and s.company[a] == 1]


def learn(s, person, thing, where):
    s.thinks[person, thing] = where


def wish(s, person, thing):
    s.wants[person] = thing


def describe(s, thing, look):
    s.looks[thing] = look


def ask(s, *question):
    s.asked = question


def feel(s, person, feeling, *why):
    s.mood[person] = (feeling, why)


def calm(s, person):
    s.mood.pop(person, None)


def close(s, *_):
    s.over = True


def hide(s, person, thing):
    s.at[thing] = s.thinks[person, thing] = s.place[person]  # nobody else sees it
    s.hidden.add(thing)


def search(s, a, t, x):
    learn(s, a, t, None)
    feel(s, a, "sad", "not found", t)


def pick_up(s, a, t):
    if s.wants.get(a) == t:
        feel(s, a, "happy", "found", t)
    s.put(t, a)


def find(s, a, t, x):
    s.put(t, a)
    feel(s, a, "happy", "found", t)


def give(s, a, b, t):
    s.put(t, b)
    feel(s, b, "happy", "given", a, t)


def snatch(s, b, t, a):
    s.put(t, b)
    feel(s, a, "angry", "taken", b, t)


def swap(s, a, b, t, u):
    s.put(t, b)
    s.put(u, a)


def noise(s, x):
    for person in s.place:
        if s.place[person] == x:
            feel(s, person, "afraid", "noise", x)


def together_to(s, a, b, x):
    s.move(a, x)
    s.move(b, x)


def can_tell(s):
    return [(a, b, t, x) for (a, t), x in s.thinks.items() if x in s.places and x != s.place[a]
            for p, b in s.together if p == a and s.thinks.get((b, t)) != x and (b, t) not in s.has]  # fmt: skip


def can_ask(s):
    return [(a, b, t) for a, t in sought(s) for p, b in s.together if p == a]


def can_beg(s):
    return [(a, b, t) for b, t in s.has for p, a in s.together if p == b]


def followers(s):
    if s.moved is None:
        return []
    b, start, x = s.moved
    return [(a, b, x) for a in s.people if a != b and s.place[a] == start]


FREE = (
    # who goes where
    (4, "Ax", "{A} went to the {x} .", "{A} 去 了 {x} 。", elsewhere, arrive),
    (3, "Ayx", "{A} left the {y} and went to the {x} .", "{A} 离开 {y} ， 去 了 {x} 。",
     lambda s: [(a, s.place[a], x) for a, x in elsewhere(s)], lambda s, a, y, x: s.move(a, x)),
    (3, "Ax", "Then {A} walked into the {x} .", "然后 {A} 走进 了 {x} 。", elsewhere, arrive),
    (3, "ABx", "{A} and {B} went to the {x} together .", "{A} 和 {B} 一起 去 了 {x} 。",
     lambda s: [(a, b, x) for a, b in s.together for x in s.places if x != s.place[a]], together_to),
    (8, "ABx", "{A} followed {B} to the {x} .", "{A} 跟 着 {B} 去 了 {x} 。",
     followers, lambda s, a, b, x: s.move(a, x)),
    (3, "Ax", "{A} came back to the {x} .", "{A} 回到 了 {x} 。",
     lambda s: [(a, x) for a, x in elsewhere(s) if (a, x) in s.been], arrive),
    (3, "ABx", "{A} went to the {x} to see {B} .", "{A} 去 {x} 看 {B} 。",
     lambda s: [(a, b, s.place[b]) for a in s.people for b in s.people if s.place[a] != s.place[b]],
     lambda s, a, b, x: s.move(a, x)),
    (2, "ABx", "{A} looked for {B} in the {x} , but {B.he} was not there .", "{A} 在 {x} 里 找 {B} ， 但是 {B.he} 不 在 。",
     lambda s: [(a, b, x) for a in s.people for b in s.people if a != b for x in s.places
                if x not in (s.place[a], s.place[b])], lambda s, a, b, x: s.move(a, x)),
    (9, "Ax", "{A} ran to the {x} because {A.he} was afraid .", "{A} 跑 到 了 {x} ， 因为 {A.he} 很 害怕 。",
     lambda s: [(a, x) for a, _, _ in moods(s, "afraid") for x in s.places if x != s.place[a]],
     lambda s, a, x: (s.move(a, x), calm(s, a))),
    (2, "Cx", "Then {C} came into the {x} .", "然后 {C} 来到 了 {x} 。",
     lambda s: new_person(s, sorted(set(s.place.values()))) if len(s.place) < 3 else [], arrive),
    (2, "CAx", "{C} , a friend of {A} , came to the {x} .", "{A} 的 朋友 {C} 来到 了 {x} 。",
     lambda s: [(c, a, s.place[a]) for c in unused_people(s) for a in s.people] if len(s.place) < 3 else [],
     lambda s, c, a, x: s.move(c, x)),
    # who does what with which thing
    (4, "AT", "{A} picked up the {T} .", "{A} 拿起 了 {T} 。", lambda s: s.sees, pick_up),
    (2, "TA", "The {T} {T.was} picked up by {A} .", "{T} 被 {A} 拿 了 起来 。",
     lambda s: [(t, a) for a, t in s.sees], lambda s, t, a: pick_up(s, a, t)),
    (3, "AT", "{A} put down the {T} .", "{A} 放下 了 {T} 。", lambda s: s.has, lambda s, a, t: s.put(t, s.place[a])),
    (3, "ATx", "{A} left the {T} in the {x} .", "{A} 把 {T} 留 在 了 {x} 里 。",
     lambda s: [(a, t, s.place[a]) for a, t in s.has], lambda s, a, t, x: s.put(t, x)),
    (4, "ATx", "{A} took the {T} to the {x} .", "{A} 把 {T} 带 到 了 {x} 。",
     lambda s: [(a, t, x) for a, t in s.has + s.sees for x in s.places if x != s.place[a]],
     lambda s, a, t, x: take_along(s, None, None, a, t, x)),
    (3, "ATB", "{A} gave the {T} to {B} .", "{A} 把 {T} 给 了 {B} 。",
     lambda s: [(a, t, b) for a, t in s.has for p, b in s.together if p == a], lambda s, a, t, b: give(s, a, b, t)),
    (3, "ABT", "{A} gave {B} the {T} .", "{A} 给 了 {B} {T} 。",
     lambda s: [(a, b, t) for a, t in s.has for p, b in s.together if p == a], give),
    (2, "TBA", "The {T} {T.was} given to {B} by {A} .", "{T} 是 {A} 给 {B} 的 。",
     lambda s: [(t, b, a) for a, t in s.has for p, b in s.together if p == a], lambda s, t, b, a: give(s, a, b, t)),
    (2, "BTA", "{B} took the {T} from {A} .", "{B} 从 {A} 那里 拿走 了 {T} 。",
     lambda s: [(b, t, a) for a, t in s.has for p, b in s.together if p == a], snatch),
    (3, "ATx", "{A} hid the {T} in the {x} .", "{A} 把 {T} 藏 在 了 {x} 里 。",
     lambda s: [(a, t, s.place[a]) for a, t in s.has if not s.company[a]], lambda s, a, t, x: hide(s, a, t)),
    (4, "BAT", "When {B} was not looking , {A} hid the {T} .", "趁 {B} 没 看见 ， {A} 把 {T} 藏 了 起来 。",
     hide_in_front_of_one, lambda s, b, a, t: hide(s, a, t)),
    (6, "ByATx", "While {B} was in the {y} , {A} took the {T} to the {x} .", "当 {B} 在 {y} 里 的 时候 ， {A} 把 {T} 带 到 了 {x} 。",
     lambda s: [(b, y, a, t, x) for b, y, a, t in away(s) for x in s.places if x not in (y, s.place[a])], take_along),
    (5, "BAT", "While {B} was away , {A} hid the {T} .", "{B} 不 在 的 时候 ， {A} 把 {T} 藏 了 起来 。",
     lambda s: [(b, a, t) for b, _, a, t in away(s) if not s.company[a]], lambda s, b, a, t: hide(s, a, t)),
    (5, "ABTU", "{A} and {B} swapped the {T} and the {U} .", "{A} 和 {B} 交换 了 {T} 和 {U} 。",
     lambda s: [(a, b, t, u) for a, t in s.has for b, u in s.has if a != b and s.place[a] == s.place[b]], swap),
    (2, "ATB", "{A} showed the {T} to {B} .", "{A} 给 {B} 看 了 {T} 。",
     lambda s: [(a, t, b) for a, t in s.has for p, b in s.together if p == a], lambda s, *_: None),
    (1, "AT", "{A} dropped the {T} .", "{A} 的 {T} 掉 在 了 地上 。", lambda s: s.has, lambda s, a, t: s.put(t, s.place[a])),
    # things that come in later
    (3, "Tx", "There {T.was} also {T.a} in the {x} .", "{x} 里 还 有 {T.a} 。",
     lambda s: thing_somewhere(s) if len(s.at) < 3 else [], lambda s, t, x: s.put(t, x)),
    (3, "AT", "{A} was carrying {T.a} .", "{A} 带 着 {T.a} 。",
     lambda s: thing_of(s) if len(s.at) < 3 else [], lambda s, a, t: s.put(t, a)),
    (3, "Tx", "On the floor of the {x} {T.was} {T.a} .", "{x} 的 地上 有 {T.a} 。",
     lambda s: thing_somewhere(s) if len(s.at) < 3 else [], lambda s, t, x: s.put(t, x)),
    (3, "ATx", "{A} found {T.a} in the {x} .", "{A} 在 {x} 里 找到 了 {T.a} 。",
     lambda s: thing_before(s) if len(s.at) < 3 else [], find),
    # wishes, and what one knows
    (6, "AT", "{A} wanted the {T} .", "{A} 想 要 {T} 。",
     lambda s: [(a, t) for a in s.people if a not in s.wants for t in s.at if s.at[t] != a],
     wish),
    (5, "AT", "{A} was looking for the {T} .", "{A} 正在 找 {T} 。",
     lambda s: [(a, t) for a, t in unseen(s) if a not in s.wants], wish),
    (9, "ATx", "{A} looked for the {T} in the {x} , but {T.they} {T.was} not there .", "{A} 在 {x} 里 找 {T} ， 但是 {T.it} 不 在 那里 。",
     lambda s: [(a, t, s.place[a]) for a, t in sought(s) if s.thinks.get((a, t)) in (None, s.place[a])
                and s.at[t] != s.place[a]], search),
    (9, "ATx", "{A} looked for the {T} and found {T.it} in the {x} .", "{A} 找 {T} ， 在 {x} 里 找到 了 {T.it} 。",
     lambda s: [(a, t, s.place[a]) for a, t in s.wants.items() if s.at[t] == s.place[a]], find),
    (9, "AxT", "{A} went to the {x} to get the {T} .", "{A} 去 {x} 拿 {T} 。",
     lambda s: [(a, x, t) for a, t, x in thinks_elsewhere(s) if s.wants.get(a) == t], lambda s, a, x, t: s.move(a, x)),
    (2, "ATx", "{A} thought that the {T} {T.was} in the {x} .", "{A} 觉得 {T} 在 {x} 里 。", thinks_elsewhere, lambda s, *_: None),
    (6, "ATx", "{A} still thought that the {T} {T.was} in the {x} .", "{A} 还 以为 {T} 在 {x} 里 。",
     lambda s: [(a, t, x) for a, t, x in thinks_elsewhere(s) if s.at[t] != x], lambda s, *_: None),
    (3, "AT", "{A} did not know where the {T} {T.was} .", "{A} 不 知道 {T} 在 哪里 。",
     lambda s: [(a, t) for a, t in unseen(s) if s.thinks.get((a, t)) is None], lambda s, *_: None),
    (6, "AT", "Only {A} knew where the {T} {T.was} .", "只 有 {A} 知道 {T} 在 哪里 。",
     lambda s: [(a, t) for t in s.hidden for a in s.people if s.thinks.get((a, t)) == s.at[t]
                and not any(s.thinks.get((b, t)) == s.at[t] for b in s.people if b != a)], lambda s, *_: None),
    (4, "ABT", "{A} remembered that {B} had the {T} .", "{A} 记得 {T} 在 {B} 手里 。",
     lambda s: [(a, b, t) for (a, t), b in s.thinks.items() if b in s.place and b != a and s.place[a] != s.place[b]
                and s.at[t] == b], lambda s, a, b, t: None),
    # what people say to each other; the answers to questions stand below
    (3, "ABTx", "{A} told {B} that the {T} {T.was} in the {x} .", "{A} 告诉 {B} {T} 在 {x} 里 。",
     can_tell, lambda s, a, b, t, x: learn(s, b, t, x)),
    (16, "ABT", "{A} asked {B} where the {T} {T.was} .", "{A} 问 {B} {T} 在 哪里 。",
     can_ask, lambda s, a, b, t: ask(s, "where", a, b, t)),
    (12, "TA", "“ Where {T.is} the {T} ? ” asked {A} .", "“ {T} 在 哪里 ？ ” {A} 问 。",
     lambda s: [(t, a) for a, t in sought(s) if s.company[a] == 1],
     lambda s, t, a: ask(s, "where", a, next(b for p, b in s.together if p == a), t)),
    (2, "TA", "“ Please give me the {T} , ” said {A} .", "“ 请 把 {T} 给 我 ， ” {A} 说 。",
     lambda s: [(t, a) for a, b, t in can_beg(s)], lambda s, t, a: ask(s, "give", a, s.at[t], t)),
    (2, "ABT", "{A} asked {B} for the {T} .", "{A} 向 {B} 要 {T} 。", can_beg, lambda s, a, b, t: ask(s, "give", a, b, t)),
    (5, "FA", "“ I am {F} , ” said {A} .", "“ 我 很 {F} ， ” {A} 说 。",
     lambda s: [(f, a) for a, f, _ in moods(s, *FEELINGS) if s.company[a]], lambda s, *_: None),
    (8, "AB", "{A} thanked {B} .", "{A} 感谢 了 {B} 。",
     lambda s: [(a, b) for a, b, t in because(s, "given") if (a, b) in s.together], lambda s, *_: None),
    # what people feel, and why
    (5, "AT", "{A} was sad because {A.he} could not find the {T} .", "{A} 很 难过 ， 因为 {A.he} 找不到 {T} 。",
     lambda s: because(s, "not found"), lambda s, *_: None),
    (5, "ABT", "{A} was happy because {B} had given {A.him} the {T} .", "{A} 很 高兴 ， 因为 {B} 给 了 {A.him} {T} 。",
     lambda s: because(s, "given"), lambda s, *_: None),
    (5, "AT", "{A} was happy because {A.he} had found the {T} .", "{A} 很 高兴 ， 因为 {A.he} 找到 了 {T} 。",
     lambda s: because(s, "found"), lambda s, *_: None),
    (5, "ABT", "{A} was angry because {B} had taken the {T} .", "{A} 很 生气 ， 因为 {B} 拿走 了 {T} 。",
     lambda s: because(s, "taken"), lambda s, *_: None),
    (5, "ABT", "{A} was angry because {B} had kept the {T} .", "{A} 很 生气 ， 因为 {B} 没 给 {A.him} {T} 。",
     lambda s: because(s, "kept"), lambda s, *_: None),
    (5, "A", "{A} was afraid because of the noise .", "{A} 听到 声音 很 害怕 。",
     lambda s: [(a,) for a, _ in because(s, "noise")], lambda s, *_: None),
    (3, "A", "{A} smiled .", "{A} 笑 了 。", lambda s: [(a,) for a, _, _ in moods(s, "happy")], lambda s, *_: None),
    (3, "A", "{A} cried .", "{A} 哭 了 。", lambda s: [(a,) for a, _, _ in moods(s, "sad")], lambda s, *_: None),
    (5, "AB", "{A} shouted at {B} .", "{A} 对 {B} 大喊 。",
     lambda s: [(a, why[1]) for a, f, why in moods(s, "angry") if (a, why[1]) in s.together],
     lambda s, *_: None),
    (5, "BA", "{B} comforted {A} .", "{B} 安慰 了 {A} 。",
     lambda s: [(b, a) for a, _, _ in moods(s, "sad", "afraid") for p, b in s.together if p == a],
     lambda s, b, a: calm(s, a)),
    (5, "BA", "{B} said sorry to {A} .", "{B} 向 {A} 道歉 。",
     lambda s: [(why[1], a) for a, f, why in moods(s, "angry") if (a, why[1]) in s.together], lambda s, b, a: calm(s, a)),
    (1, "x", "There was a loud noise in the {x} .", "{x} 里 传来 一 声 巨响 。",
     lambda s: [(x,) for x in sorted(set(s.place.values()))], noise),
    # how things stand
    (1, "Tx", "The {T} {T.was} now in the {x} .", "{T} 现在 在 {x} 里 。",
     lambda s: [(t, x) for t, x in s.at.items() if x in s.places], lambda s, *_: None),
    (3, "ATU", "{A} now had the {T} and the {U} .", "{A} 现在 有 {T} 和 {U} 。",
     lambda s: [(a, t, u) for i, (a, t) in enumerate(s.has) for b, u in s.has[i + 1 :] if a == b], lambda s, *_: None),
    (1, "Ax", "{A} was alone in the {x} .", "{A} 一个人 在 {x} 里 。", alone, lambda s, *_: None),
    (1, "x", "Nobody was in the {x} .", "{x} 里 没有 人 。",
     lambda s: [(x,) for x in s.places if x not in s.place.values()], lambda s, *_: None),
    (1, "ABx", "{A} and {B} were both in the {x} .", "{A} 和 {B} 都 在 {x} 里 。",
     lambda s: [(a, b, s.place[a]) for a, b in s.together], lambda s, *_: None),
    (3, "TL", "The {T} {T.was} {L} .", "{T} 是 {L} 的 。",
     lambda s: [(t, w) for t in s.at if t not in s.looks for w in LOOKS], describe),
    (3, "ALT", "{A} looked at the {L} {T} .", "{A} 看 着 {L} 的 {T} 。",
     lambda s: [(a, s.looks[t], t) for a, t in s.has + s.sees if t in s.looks], lambda s, *_: None),
    (3, "ATL", "{A} liked the {T} because {T.they} {T.was} {L} .", "{A} 喜欢 {T} ， 因为 {T.it} 是 {L} 的 。",
     lambda s: [(a, t, s.looks[t]) for a in s.people for t in s.looks], lambda s, *_: None),
)  # fmt: skip


def asked(s, what, test=lambda s, a, b, t: True):
    kind, a, b, t = s.asked
    return [(a, b, t)] if kind == what and test(s, a, b, t) else []


def answer_place(s):
    return [(b, t, s.thinks[b, t]) for a, b, t in asked(s, "where") if s.thinks.get((b, t)) in s.places]


def answer_holder(s):
    return [(b, s.thinks[b, t], t) for a, b, t in asked(s, "where") if s.thinks.get((b, t)) in s.place.keys() - {a}]


def answer_lie(s):
    lies = [(b, t, x) for _, b, t in asked(s, "where") for x in s.places if x not in (s.thinks.get((b, t)), s.place[b])]
    return lies if answer_place(s) else []


def ignorant(s):
    return [(b,) for a, b, t in asked(s, "where") if s.thinks.get((b, t)) in (None, a)]


def hears(s, b, t, x):
    learn(s, s.asked[1], t, x)


def hands_over(s):
    return [(b, a, t) for a, b, t in asked(s, "give")]


def refuses(s, b):
    _, a, b, t = s.asked
    feel(s, a, "angry", "kept", b, t)


ANSWERS = (
    (3, "BTx", "{B} said that {T.they} {T.was} in the {x} .", "{B} 说 {T.it} 在 {x} 里 。", answer_place, hears),
    (3, "TxB", "“ {T.They} {T.is} in the {x} , ” said {B} .", "“ {T.it} 在 {x} 里 ， ” {B} 说 。",
     lambda s: [(t, x, b) for b, t, x in answer_place(s)], lambda s, t, x, b: hears(s, b, t, x)),
    (1, "BTx", "{B} lied and said that {T.they} {T.was} in the {x} .", "{B} 撒谎 ， 说 {T.it} 在 {x} 里 。", answer_lie, hears),
    (3, "BCT", "{B} said that {C} had {T.it} .", "{B} 说 {T.it} 在 {C} 手里 。", answer_holder,
     lambda s, b, c, t: hears(s, b, t, c)),
    (3, "B", "{B} did not know .", "{B} 不 知道 。", ignorant, lambda s, *_: None),
    (3, "B", "{B} said that {B.he} did not know .", "{B} 说 {B.he} 不 知道 。", ignorant, lambda s, *_: None),
    (3, "B", "“ I do not know , ” said {B} .", "“ 我 不 知道 ， ” {B} 说 。", ignorant, lambda s, *_: None),
    (2, "BAT", "So {B} gave {A} the {T} .", "于是 {B} 给 了 {A} {T} 。", hands_over, lambda s, b, a, t: give(s, b, a, t)),
    (2, "B", "“ Here you are , ” said {B} .", "“ 给 你 ， ” {B} 说 。",
     lambda s: [(b,) for b, _, _ in hands_over(s)], lambda s, b: give(s, b, s.asked[1], s.asked[3])),
    (2, "B", "{B} said no .", "{B} 说 不行 。", lambda s: [(b,) for b, _, _ in hands_over(s)], refuses),
    (1, "TB", "“ No , {T.they} {T.is} mine , ” said {B} .", "“ 不行 ， {T.it} 是 我 的 ， ” {B} 说 。",
     lambda s: [(t, b) for b, _, t in hands_over(s)], lambda s, t, b: refuses(s, b)),
    (1, "B", "{B} shook {B.his} head .", "{B} 摇 了 摇头 。", lambda s: [(b,) for b, _, _ in hands_over(s)], refuses),
)  # fmt: skip

ENDINGS = (
    (3, "AT", "In the end {A} had the {T} .", "最后 {T} 在 {A} 手里 。", lambda s: s.has, close),
    (3, "Tx", "In the end the {T} {T.was} in the {x} .", "最后 {T} 在 {x} 里 。",
     lambda s: [(t, x) for t, x in s.at.items() if x in s.places], close),
    (2, "Ax", "So {A} stayed in the {x} .", "于是 {A} 留 在 了 {x} 里 。",
     lambda s: [(a, s.place[a]) for a in s.people], close),
    (3, "AF", "That evening {A} was still {F} .", "那天 晚上 {A} 还是 很 {F} 。",
     lambda s: [(a, f) for a, f, _ in moods(s, *FEELINGS)], close),
    (1, "", "Then it was time to sleep .", "然后 就 该 睡觉 了 。", lambda s: [()], close),
    (1, "", "That was the end of the story .", "故事 到 这里 就 结束 了 。", lambda s: [()], close),
    (2, "AT", "From that day on {A} kept the {T} .", "从 那天 起 {A} 一直 留 着 {T} 。", lambda s: s.has, close),
)  # fmt: skip

TABLES = {
    "SETTING": SETTING, "FIRST_PERSON": FIRST_PERSON, "SECOND_PERSON": SECOND_PERSON, "FIRST_THING": FIRST_THING,
    "FREE": FREE, "ANSWERS": ANSWERS, "ENDINGS": ENDINGS,
}  # fmt: skip


def table(s):
    """Which table the next sentence comes from, if it is no ending."""
    if not s.places:
        return "SETTING"
    if len(s.place) < 2:
        return "SECOND_PERSON" if s.place else "FIRST_PERSON"
    if not s.at:
        return "FIRST_THING"
    return "ANSWERS" if s.asked else "FREE"


ABOUT_FACTS = ("In the end", "So {A} stayed", "That evening", "From that day")  # how an ending about facts begins
HEARSAY = re.compile("thought|said|told|remembered|“")  # what these report need not be so

QUESTIONS = {  # kind: English question and answer, Chinese question and answer
    "thing": ("Where {T.is} the {T} ?", "in the {x}", "{T} 在 哪里 ？", "在 {x} 里"),
    "person": ("Where is {A} ?", "in the {x}", "{A} 在 哪里 ？", "在 {x} 里"),
    "holder": ("Who has the {T} ?", "{A}", "谁 有 {T} ？", "{A}"),
    "thinks": ("Where does {A} think the {T} {T.is} ?", "in the {x}", "{A} 觉得 {T} 在 哪里 ？", "在 {x} 里"),
    "feels": ("How does {A} feel ?", "{F}", "{A} 感觉 怎么样 ？", "{F}"),
    "not found": ("Why is {A} {F} ?", "because {A.he} could not find the {T}", "{A} 为什么 {F} ？", "因为 {A.he} 找不到 {T}"),
    "found": ("Why is {A} {F} ?", "because {A.he} found the {T}", "{A} 为什么 {F} ？", "因为 {A.he} 找到 了 {T}"),
    "given": ("Why is {A} {F} ?", "because {B} gave {A.him} the {T}", "{A} 为什么 {F} ？", "因为 {B} 给 了 {A.him} {T}"),
    "taken": ("Why is {A} {F} ?", "because {B} took the {T}", "{A} 为什么 {F} ？", "因为 {B} 拿走 了 {T}"),
    "kept": ("Why is {A} {F} ?", "because {B} kept the {T}", "{A} 为什么 {F} ？", "因为 {B} 没 给 {A.him} {T}"),
    "noise": ("Why is {A} {F} ?", "because of the noise", "{A} 为什么 {F} ？", "因为 声音"),
}  # fmt: skip
SUMMARIES = {  # where the first thing was at the start and the end
    "same place": ("The {T} {T.was} in the {x} at the start and at the end .", "{T} 开始 和 最后 都 在 {x} 里 。"),
    "same person": ("{A} had the {T} at the start and at the end .", "{T} 开始 和 最后 都 在 {A} 手里 。"),
    "place": ("The {T} came to be in the {x} .", "{T} 最后 到 了 {x} 里 。"),
    "person": ("{A} came to have the {T} .", "{T} 最后 到 了 {A} 手里 。"),
}  # fmt: skip


Filling = tuple[str, ...]  # a word for each slot of a construction


@dataclasses.dataclass(eq=False)
class Construction:
    """One row of a table, made ready to tell and to recognise."""

    weight: float
    slots: str
    english: str
    chinese: str
    when: Callable[[Any], list[Filling]]
    then: Callable[..., object]

    def __post_init__(self) -> None:
        self.fillers = []  # (slot, {word: its form there})
        self.marks = []  # (position, slot)
        self.literals = []  # (position, fixed word)
        self.length = 0
        self.pattern = SLOT.sub("%s", self.english)
        self.subject = self.slots.index("A") if self.english.startswith("{A} ") else None
        for part in self.english.split():
            self.length += 1
            if not (found := SLOT.fullmatch(part)):
                self.literals.append((self.length - 1, part))
                continue
            slot, form = self.slots.index(found[1]), found[2]
            self.length += form == "a"  # "a lamp": the word comes after its article
            self.fillers.append((slot, {word: forms[form] for word, forms in ENGLISH.items() if form in forms}))
            if form not in ("was", "is"):
                self.marks.append((self.length - 1, slot))

    def tell(self, filling: Sequence[str], pronoun: bool = False) -> str:
        """The sentence in English, its tokens separated by blanks."""
        words = [forms[filling[place]] for place, forms in self.fillers]
        if pronoun:
            words[0] = ENGLISH[words[0]]["He"]
        return self.pattern % tuple(words)

    def tell_chinese(self, filling: Sequence[str], pronoun: bool = False) -> str:
        """The same sentence in Chinese, its tokens separated by blanks."""

        def word(slot):
            forms = CHINESE[filling[self.slots.index(slot[1])]]
            return forms["he"] if pronoun and slot[1] == "A" and not slot[2] else forms[slot[2]]

        return SLOT.sub(word, self.chinese)

    def fits(self, tokens: Sequence[str]) -> bool:
        """Whether a sentence could be this construction's, by its length and its fixed words."""
        return len(tokens) == self.length and all(tokens[position] == word for position, word in self.literals)
