"""`mmrec data prepare`: text cleaned, filtered, freed of copies and tokenised once, by datatrove.

Reading order: `settings`, `cleaning`, `document_filter`, `tasks`, `steps`, `duplicates`,
`manifest`, `join`, `executors`, `preparation`, `report`, `reading`, `large_text`. The extra
`prepare` is needed to prepare, and not to report or to train.
"""
