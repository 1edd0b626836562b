import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.chassis import engine as chassis_engine
from infra.chassis.engine import DatabaseUnreachable, create_engine, tenant_transaction
from infra.chassis.secret import Secret
from infra.dev.postgres import ServiceDatabase
from tests.support.database import DatabaseMaker

PID = text("SELECT pg_backend_pid()")


@pytest.fixture(scope="module")
def database_of_gateway(database: DatabaseMaker) -> ServiceDatabase:
    return database("gateway")


async def pid_of(engine: AsyncEngine) -> int:
    async with tenant_transaction(engine, "tnt_x") as tx:
        return int((await tx.execute(PID)).scalar_one())


async def end_others(at: ServiceDatabase) -> None:
    """As a restart of the database would end every connection that a process keeps."""
    engine = create_engine(Secret(at.app_dsn), pool_size=1)
    others = text(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = CURRENT_USER"
        " AND datname = current_database() AND pid <> pg_backend_pid()"
    )
    async with engine.begin() as tx:
        assert all((await tx.execute(others)).scalars().all())
    await engine.dispose()


async def test_a_connection_that_died_while_it_lay_idle_is_nobodys_failure(
    database_of_gateway: ServiceDatabase, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(chassis_engine, "IDLE_SECONDS_MAX", 0.0)
    engine = create_engine(Secret(database_of_gateway.app_dsn))
    before = await pid_of(engine)

    await end_others(database_of_gateway)
    after = await pid_of(engine)

    assert after != before
    await engine.dispose()


async def test_a_connection_that_died_in_use_is_one_clear_error_and_then_all_is_well(
    database_of_gateway: ServiceDatabase, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(chassis_engine, "IDLE_SECONDS_MAX", 3600.0)
    engine = create_engine(Secret(database_of_gateway.app_dsn))
    before = await pid_of(engine)

    await end_others(database_of_gateway)
    with pytest.raises(DatabaseUnreachable):
        await pid_of(engine)
    after = await pid_of(engine)

    assert after != before
    await engine.dispose()


async def test_the_tenant_of_one_transaction_is_not_there_in_the_next(database_of_gateway: ServiceDatabase):
    setting = text("SELECT current_setting('undercroft.tenant', true)")
    engine = create_engine(Secret(database_of_gateway.app_dsn), pool_size=1)
    async with tenant_transaction(engine, "tnt_x") as tx:
        inside = (await tx.execute(setting)).scalar_one()

    async with engine.begin() as tx:
        afterwards = (await tx.execute(setting)).scalar_one()

    assert (inside, afterwards) == ("tnt_x", "")
    await engine.dispose()
