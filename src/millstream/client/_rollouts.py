"""Roll-outs as people start and watch them; the hub carries them out."""

from __future__ import annotations

from collections.abc import Sequence

from millstream.client._rollout_book import RolloutBook
from millstream.client._site_configs import SiteConfigs, SitePlan, me
from millstream.kernel import Clock, ConfigError, NotFoundError, beside_one_another, suggest
from millstream.protocols.act import Act, upon_rollout
from millstream.protocols.cloudevents import format_time
from millstream.protocols.rollout import (
    SITE_TIMEOUT_S_DEFAULT,
    SITES_COUNT_MAX,
    Rollout,
    RolloutSite,
    stage_ends,
)
from millstream.protocols.rollout_desk import Steering
from millstream.protocols.site_config import HEALTHY_WITHIN_MS_DEFAULT, is_edge_name


class Rollouts:
    """`Plant.configs.rollouts` at a hub."""

    def __init__(self, book: RolloutBook, configs: SiteConfigs, clock: Clock) -> None:
        self._book = book
        self._configs = configs
        self._clock = clock

    async def start(
        self, plans: Sequence[SitePlan], *, stages: Sequence[str] = ("all",), name: str | None = None,
        comment: str = "", author: str | None = None, site_timeout_s: float = SITE_TIMEOUT_S_DEFAULT,
        failures_max: int = 0, passes_away: bool = False, overwrite: bool = False,
        healthy_within_ms: int = HEALTHY_WITHIN_MS_DEFAULT,
    ) -> Rollout:  # fmt: skip
        """Prepare the revisions of these sites, in this order, and let the hub release them stage by stage. Sites
        without changes are left out. Raises PlantError, ConfigError; then nothing is released."""
        chosen = [plan for plan in plans if plan.changes or plan.newest is None]
        for plan in chosen:
            self._configs.check_plan(plan, overwrite=overwrite)
        if not chosen or len(chosen) > SITES_COUNT_MAX:
            raise ConfigError(
                "nothing to roll out" if not chosen else "too many sites", code="MS-2430",
                expected=f"1 to {SITES_COUNT_MAX} sites with changes", got=str(len(chosen)),
            )  # fmt: skip
        now_ns = self._clock.now_ns()
        name = name or f"r{format_time(now_ns)[:19].replace('-', '').replace(':', '')}"
        if not is_edge_name(name):
            raise ConfigError(
                "not a name of a roll-out", expected="1 to 32 of letters, digits, '_' and '-'", got=repr(name)[:60],
                code="MS-2417",
            )  # fmt: skip
        ends = stage_ends(stages, len(chosen))
        sites = await self._configs.sites()
        place = self._book.place_of({plan.file.edge: sites[plan.file.edge] for plan in chosen})

        async def prepare(plan: SitePlan) -> RolloutSite:
            revision, base_seq = await self._configs.compose(
                plan.file.edge, plan.file.text, based_on=plan.newest.revision.revision if plan.newest else 0,
                comment=comment, author=author, healthy_within_ms=healthy_within_ms, kind="apply", rollout=name,
            )  # fmt: skip
            await self._book.prepare(place, name, revision)
            return RolloutSite(revision.edge, revision.revision, revision.digest, base_seq)

        prepared = await beside_one_another(prepare, chosen)
        rollout = Rollout(
            name=name, author=author or me(), created_ns=now_ns, ends=ends, sites=tuple(prepared), comment=comment,
            site_timeout_s=site_timeout_s, failures_max=failures_max, passes_away=passes_away,
        )  # fmt: skip
        return await self._book.start(place, rollout)

    async def list(self) -> list[Rollout]:
        """All roll-outs that the hub knows, oldest first."""
        return await self._book.list()

    async def get(self, name: str) -> Rollout:
        """One roll-out. Raises NotFoundError."""
        found = await self._book.find(name)
        if found is not None:
            return found
        near = suggest(name, [rollout.name for rollout in await self.list()])
        raise NotFoundError(
            "no such roll-out", got=repr(name)[:60], code="MS-2430",
            next_step=f"did you mean {near}?" if near else "`millstream config rollout status` lists them",
        )  # fmt: skip

    async def stop(self, name: str, *, author: str | None = None) -> Rollout:
        """Release nothing more, until it is resumed."""
        return await self._steer(name, "stop", author)

    async def cancel(self, name: str, *, author: str | None = None) -> Rollout:
        """Release nothing more, for good."""
        return await self._steer(name, "cancel", author)

    async def resume(self, name: str, *, author: str | None = None) -> Rollout:
        """Go on after a stop; the sites that have failed are left as they are."""
        return await self._steer(name, "resume", author)

    async def rollback(self, name: str, *, author: str | None = None) -> dict[str, str]:
        """Cancel it, and give each of its sites the revision from before, where that is still its newest. What became
        of each, by name."""
        rollout = await self.cancel(name, author=author)
        done: dict[str, str] = {}
        for site in rollout.sites:
            if site.state == "waiting":
                continue
            newest = await self._configs.get(site.edge)
            if newest is None or newest.revision.rollout != name:
                done[site.edge] = "left alone: it has a newer revision"
            elif not newest.revision.based_on:
                done[site.edge] = "left alone: it had no revision before"
            else:
                back = await self._configs.rollback(
                    site.edge, newest.revision.based_on, comment=f"rollback of {name}", author=author
                )
                done[site.edge] = f"revision {back.revision}, as {back.restores}"
        return done

    async def _steer(self, name: str, verb: Steering, author: str | None = None) -> Rollout:
        """As the signer, where there is one."""
        await self.get(name)
        signer = self._configs.signer
        who = signer.name if signer is not None else author or me()

        def act_upon(rollout: Rollout) -> Act:
            act = Act(
                verb=verb, subject=name, upon=upon_rollout(rollout), author=who, time_ns=self._clock.now_ns()
            )  # fmt: skip
            return act if signer is None else signer.sign_act(act)

        return await self._book.change(name, act_upon)
