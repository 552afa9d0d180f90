"""`mmrec data prepare`: text cleaned, filtered, freed of copies and tokenised once, by datatrove.

Reading order: `settings`, `cleaning`, `document_filter`, `tasks`, `steps`, `duplicates`,
`manifest`, `join`, `executors`, `memory`, `preparation`, `report`, `reading`. The extra `prepare`
is needed to prepare, and not to report or to train.
"""
