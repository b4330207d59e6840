"""The doctor: facts about the whole device, gathered once, and a table of pure judgements over them."""
