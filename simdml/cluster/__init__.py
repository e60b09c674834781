"""What a cluster is: devices, nodes, networks, the directed links between them, and routes over the links.

=====================  ===================================================================
``cluster.loading``    ``load_cluster``: a bundled name, a file or a mapping into a Cluster
``cluster.cluster``    ``Cluster``, ``Route``, ``NodeGroup``
``cluster.endpoint``   ``gpu(index)``, ``host(node)``
``cluster.device``     ``Device``, ``find_device``
``cluster.node``       ``NodeTemplate``: one node as a small graph
``cluster.network``    the fabric between nodes, with routes by formula
``cluster.describe``   a cluster as tables
``cluster.draw``       a cluster as a picture
=====================  ===================================================================
"""
