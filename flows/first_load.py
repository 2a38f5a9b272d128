"""Whether a load is a first one that Neo4j's importer does faster, and that load."""

import logging

from flows.servers import local_server
from flows.tasks import Run
from kg.errors import ContractError, StoreError
from kg.store import Progress, Store
from kg.tables import Draft, Output

LOG = logging.getLogger("crossgraph")


def first_load(run: Run, tables: Output, draft: Draft, progress: Progress, hops: int) -> bool:
    """Load the tables by the importer where it pays and the local database holds nothing; false if not done.

    What the importer refuses is left to the online way, which finds the rows that are to blame; the database is then
    as empty as before.
    """
    from kg.bulk import bulk_load, is_empty, pays

    own = run.settings.neo4j.connection()
    if own is not None or not run.settings.bulk or not pays(tables):
        return False
    with Store(run.connection) as store:
        store.check_project(run.project.name)
        if not is_empty(store):
            return False
    server = local_server(run.settings, run.project.name)
    try:
        bulk_load(server, tables, draft, run.project.name, progress, hops)
    except (ContractError, StoreError) as error:
        LOG.warning("the importer was of no use (%s): loading online", error)
        draft.figures["import_refused"] = str(error)
        return False
    finally:
        run.forget_connection()
    return True
