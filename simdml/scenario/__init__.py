"""Scenario files: a cluster, a model, how it is trained, and the prediction that follows.

=========================  ====================================================================
``scenario.schema``        the file format, one section a file
``scenario.loading``       ``load_scenario``: a name, a file or a mapping
``scenario.building``      ``build``: a scenario into a Job and its costs
``scenario.simulate``      ``simulate(scenario) -> Result``
``scenario.explaining``    what every line means and where every default comes from
=========================  ====================================================================

Nothing is imported here: pydantic and numpy cost start-up time.
"""
