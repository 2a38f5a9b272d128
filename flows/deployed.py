"""The flows as Prefect flows, for the command and for deployments (`prefect.yaml`).

Prefect's result caching stays off: the manifests of the workspace decide what is skipped.
"""

from prefect import flow

from flows import pipeline

run = flow(name="crossgraph-run", persist_result=False)(pipeline.run)
ingest = flow(name="crossgraph-ingest", persist_result=False)(pipeline.ingest)
replay = flow(name="crossgraph-replay", persist_result=False)(pipeline.replay)
embed = flow(name="crossgraph-embed", persist_result=False)(pipeline.embed)
refresh = flow(name="crossgraph-refresh", persist_result=False)(pipeline.refresh)
ablate = flow(name="crossgraph-ablate", persist_result=False)(pipeline.ablate)
evaluate = flow(name="crossgraph-evaluate", persist_result=False)(pipeline.evaluate)
recommend = flow(name="crossgraph-recommend", persist_result=False)(pipeline.recommend)
