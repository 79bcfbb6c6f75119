"""The nouns that the verbs in src/*.py share."""
