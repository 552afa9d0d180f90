"""`mmrec data prepare`: text cleaned, filtered, freed of copies and tokenised once, by datatrove.

Reading order: `settings`, `cleaning`, `document_filter`, `tasks`, `steps`, `duplicates`, `manifest`,
`join`, `executors`, `memory`, `preparation`, `report`. All but `settings`, `manifest` and `report`
need the extra `prepare`; training from what is written does not.
"""
