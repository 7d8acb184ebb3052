"""The story world: a language whose truth is known. Its words and sentences are in `sentences`.

A story is told sentence by sentence. What may be said next, and how probable it is, depends on the scene: who is where,
who has what, what each one thinks, wants and feels. No two ways of telling give the same words, so every text has at
most one derivation, and its probability is the product of the probabilities of the choices in it.
"""

from bigmodel_lib.storyworld.story import END, START, words_of
from bigmodel_lib.storyworld.world import NotInLanguage, StoryWorld
from bigmodel_lib.text.tokenizers import text_of

__all__ = ["END", "START", "NotInLanguage", "StoryWorld", "text_of", "words_of"]
