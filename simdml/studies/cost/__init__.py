"""What a job costs and draws, a step, a sample and for its target.

============================  ==================================================
``studies.cost.prices``       price files, and the entry that holds for a GPU
``studies.cost.power``        the power model
``studies.cost.target``       steps to the target
``studies.cost.statement``    ``statement``: all of it for a result
``studies.cost.table``        the statement as rows
============================  ==================================================
"""
