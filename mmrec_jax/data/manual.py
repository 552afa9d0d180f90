"""The second built-in corpus: the reference manual in Python's standard library (English).

`pydoc_data.topics` holds the texts behind `help("topic")`: far fewer documents than the treebank
but far longer ones, so this is where a memory can show its use. The texts change a little
from one Python version to the next; which split a topic belongs to does not.
"""

import importlib

from mmrec_jax.data.document import Document
from mmrec_jax.errors import UserError


def manual_documents() -> list[Document]:
    """One document a topic, sorted by name.

    Raises:
      UserError: this Python was built without `pydoc_data`.
    """
    try:
        topics = importlib.import_module("pydoc_data.topics").topics
    except ImportError:
        raise UserError(
            'config.data.source "manual" needs pydoc_data.topics, which this Python lacks; '
            "use a full Python installation or choose another config.data.source"
        ) from None
    return [Document(name, topics[name]) for name in sorted(topics) if topics[name].strip()]
