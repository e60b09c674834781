"""Documents: YAML files read strictly, with the place of every key and value.

========================  ===============================================================
``documents.document``    ``Document``, ``from_mapping``
``documents.loading``     ``load_document``: a file, with one level of ``extends``
``documents.overriding``  ``override``, ``override_each``: ``--set path=value``
``documents.validation``  ``validate``: a pydantic model, or one DocumentError
``documents.quantities``  ``DocumentModel`` and the field types ``Bytes``, ``Seconds``, ...
========================  ===============================================================

Nothing is imported here: the last two need pydantic, which costs start-up time.
"""
