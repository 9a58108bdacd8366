"""What the planner is asked: a plan, one sub-task in the place of a failed one, what is still needed after all.

A plan that cannot be run goes back once, with the reason.
"""

from collections.abc import Callable, Sequence

from langchain_core.callbacks import adispatch_custom_event
from langchain_core.messages import AnyMessage, HumanMessage
from langchain_core.tools import BaseTool

from agents.agent import roles_of, tools_of
from agents.asking import ask_for
from agents.context import Context
from agents.errors import Unreadable
from agents.planner import Plan, SubTask
from agents.tools.contract import contract_of
from agents.tools.remote import offered_tools
from graphs.gaps import spared
from graphs.plans import BadPlan, Forecast, checked, single
from graphs.scheduling import Finding, Remedies

ATTEMPTS = 2
Check = Callable[[Plan], Plan]


async def propose(context: Context, messages: Sequence[AnyMessage], question: str) -> Plan:
    """A plan for the question; after two that cannot be run, a plan of one sub-task."""
    roles = roles_of(context)
    check: Check = lambda plan: checked(plan, roles, context.limits)  # noqa: E731
    if proposed := await planned(context, messages, question, check):
        return proposed
    role = "researcher" if "researcher" in roles else next(iter(roles))
    return single(question, role, f"No plan could be run, so one {role} takes the whole question.")


async def announce(plan: Plan, expected: Forecast) -> None:
    """Tell whoever watches of the plan, and of what was expected of the planner's."""
    told = {**expected.shown(), "decision": expected.decision()}
    await adispatch_custom_event("plan.proposed", {**plan.model_dump(), **told})


def remedies(context: Context) -> Remedies:
    """A twin for a late one, what the planner says for a failed one; if all its tools can be repeated safely."""
    roles = roles_of(context)

    def safe_twice(sub: SubTask) -> bool:
        if sub.role in context.peers:  # nobody here knows what it does
            return False
        tools = [*tools_of(context.agents[sub.role]), *_offered(context, sub.role)]
        contracts = [contract_of(tool) for tool in tools if not sub.tools or tool.name in sub.tools]
        return all(it.effect in ("read", "idempotent") and not it.approval for it in contracts)

    async def instead(sub: SubTask, failed: Finding) -> SubTask | None:
        if not safe_twice(sub):  # it may have done something before it failed
            return None
        told = (
            f"{sub.question}\n\nResult of sub-task {sub.id} of the role {sub.role}:\nIt failed: {failed.reason}. "
            "Plan exactly one sub-task in its place, asked in another way or given to another role."
        )
        plan = await ask_for(context, "planner", Plan, told)
        may = {sub.role} if context.review_plan else roles  # a person who looked at the plan has chosen its roles
        return next((other for other in plan.tasks if other.role in may and other.question.strip()), None)

    return Remedies(safe_twice, instead)


def _offered(context: Context, role: str) -> Sequence[BaseTool]:
    """What servers of others offer a role now, which no assembled agent knows of."""
    return offered_tools(context.remotes, role) if context.remotes else ()


async def second_plan(context: Context, question: str, plan: Plan, findings: Sequence[Finding]) -> Plan | None:
    """The plan with what is still needed after its findings; None when nothing is, or nobody can say."""
    found = [f"## {finding.title}\n{finding.text or finding.reason}" for finding in findings]
    ask = "Plan only what is still needed to answer the question, no sub-task if nothing is."
    told = "\n\n".join([question, "Findings:", *found, ask])
    roles = roles_of(context)

    def check(asked: Plan) -> Plan:
        return checked(joined(plan, asked), roles, context.limits) if asked.tasks else plan

    # what was found is worth an answer, whether or not more could be asked for
    whole, _ = await spared("Second plan", context, planned(context, [HumanMessage(told)], question, check))
    return None if whole is plan else whole


def joined(plan: Plan, asked: Plan) -> Plan:
    """Both plans as one, whose second part keeps its ids where the first has not taken them. It is not joined again."""
    taken = {sub.id for sub in plan.tasks}
    names = {sub.id: sub.id if sub.id not in taken else f"{sub.id}+" for sub in asked.tasks}
    later = [
        sub.model_copy(update={"id": names[sub.id], "depends_on": [names.get(need, need) for need in sub.depends_on]})
        for sub in asked.tasks
    ]
    return plan.model_copy(update={"tasks": [*plan.tasks, *later], "look_again": False})


async def planned(
    context: Context, messages: Sequence[AnyMessage], question: str, check: Check, agent: str = "planner"
) -> Plan | None:
    """A plan of `agent` that passes `check`; None after two that do not."""
    ask = [*messages]
    for _ in range(ATTEMPTS):
        try:
            return check(_undecided(await ask_for(context, agent, Plan, *ask)))
        except (BadPlan, Unreadable) as error:
            ask = [*messages, HumanMessage(f"That plan cannot be run: {error}. Plan again: {question}")]
    return None


def _undecided(plan: Plan) -> Plan:
    """The plan without what only a person or code decides: no schema shows it to a model, which may write it anyhow."""
    tasks = [sub.model_copy(update={"tools": [], "enabled": True}) for sub in plan.tasks]
    return plan.model_copy(update={"tasks": tasks, "in_turn": False})
