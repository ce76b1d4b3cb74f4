"""The built-in tiny base model: its world, its corpus, its pretraining recipe, its weights."""
