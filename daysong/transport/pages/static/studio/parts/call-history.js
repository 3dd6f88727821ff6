// Calls as they went: with their outcome in words, and the entry that each became.

import { h, icon, keyed, replace } from "../dom.js";
import { isLive, outcomeOf } from "./call-words.js";
import { entryRow, rowOf, updateEntryRow } from "./entry-row.js";
import { menuButton } from "./menu.js";

const SHOWN = 50;
const WITH_ENTRIES = 8; // calls whose entries are shown themselves, the newest

/** Returns the history as `node`, and `stop`; `onlive(job)` gets the call that is under way, or null. */
export function callHistory(ctx, onlive) {
  const { live, time } = ctx;
  const list = h("ol", { class: "calls" });
  const node = h("section", { class: "call-history", "aria-labelledby": "calls-head", hidden: true }, h("h2", { id: "calls-head" }, "Calls so far"), list);
  let [jobs, sessions] = [null, null];
  const entries = new Map(); // id of an entry → { stop, row, place }

  function draw() {
    if (!jobs || !sessions) return;
    const byJob = new Map(sessions.filter((one) => one.callJobId).map((one) => [one.callJobId, one]));
    const known = new Set(jobs.map((job) => job._id));
    const calls = [
      ...jobs.map((job) => ({ key: job._id, at: job.scheduledForUTC, job, session: byJob.get(job._id) })),
      ...sessions.filter((one) => !known.has(one.callJobId)).map((session) => ({ key: session._id, at: session.startedAt ?? session._creationTime, session })),
    ]
      .filter(({ job }) => !(job?.status === "canceled" && job.errorCode === "switched_off"))
      .sort((one, other) => other.at - one.at)
      .slice(0, SHOWN);
    node.hidden = !calls.length;
    const wanted = new Set(calls.map(({ session }) => session?.diaryId).filter(Boolean).slice(0, WITH_ENTRIES));
    for (const [id, entry] of entries) {
      if (wanted.has(id)) continue;
      entry.stop();
      entries.delete(id);
    }
    keyed(list, calls, ({ key }) => key, make, fill);
    onlive(calls.find(({ job }) => isLive(job))?.job ?? null);
  }

  function make(call) {
    const node = h("li", { class: "call" }, h("div", { class: "call-head" }), h("div", { class: "call-entry" }));
    fill(node, call);
    return node;
  }

  function fill(node, call) {
    const { job, session, at } = call;
    const said = outcomeOf(job, session, time);
    const state = JSON.stringify([said, session?.diaryId, session?.transcript?.length]);
    if (node.state === state) return;
    node.state = state;
    const [head, place] = node.children;
    const kind = session?.direction === "inbound" ? "You called" : job?.kind === "test" ? "You asked for this call" : "";
    node.className = `call${isLive(job) ? " is-live" : ""}${session?.diaryId ? " has-entry" : ""}`;
    replace(
      head,
      h("span", { class: "call-mark", "aria-hidden": "true" }, icon("phone")),
      h("div", { class: "call-words" }, h("p", { class: "call-outcome", role: isLive(job) ? "status" : null }, said), h("p", { class: "fine" }, [time.relative(at), time.clock(at), kind].filter(Boolean).join(" · "))),
      session?.transcript?.length > 0 && menuButton("More for this call", () => [
        { label: "What was said", icon: "book", act: () => showWords(session) },
        { label: "Forget what was said…", icon: "bin", danger: true, act: () => forget(session) },
      ]),
    );
    showEntry(place, session?.diaryId);
  }

  function showEntry(place, id) {
    if (!id) return replace(place);
    const known = entries.get(id);
    if (known) {
      known.place = place;
      return;
    }
    if (entries.size >= WITH_ENTRIES) return replace(place, h("a", { class: "quiet", href: `${ctx.base}/diary/${id}` }, "Read the entry"));
    const entry = { place, row: null, stop: () => {} };
    entries.set(id, entry);
    entry.stop = live.watch("diaries:getDiary", { diaryId: id }, {
      value(found) {
        if (!found) return replace(entry.place);
        if (entry.row) updateEntryRow(entry.row, rowOf(found), ctx);
        else replace(entry.place, (entry.row = entryRow(rowOf(found), ctx)));
      },
      error: () => {},
    });
  }

  function showWords(session) {
    const turns = session.transcript.map((turn) => ({ role: turn.role, text: turn.text ?? turn.message ?? turn.content })).filter((turn) => turn.text);
    const content = h(
      "div",
      { class: "turns", tabIndex: 0, role: "region", "aria-label": "What was said" },
      turns.map((turn) => h("p", { class: turn.role === "user" ? "turn own" : "turn", dir: "auto" }, h("span", { class: "fine" }, turn.role === "user" ? "You" : "daysong"), turn.text)),
    );
    ctx.openDialog({ title: "What was said", content, name: "said" });
  }

  async function forget(session) {
    const sure = await ctx.ask({ title: "Forget what was said?", text: "The words of this call are deleted for good. The entry that they became stays.", confirm: "Forget it", danger: true });
    if (!sure) return;
    try {
      await live.mutation("callJobs:deleteCallSession", { sessionId: session._id });
      ctx.say("The words of this call are deleted.");
    } catch (error) {
      ctx.say(ctx.inWords(error));
    }
  }

  const stops = [
    live.watch("callJobs:getCallJobs", { limit: SHOWN }, { value: (found) => ((jobs = found), draw()), error: () => {} }),
    live.watch("callJobs:getCallSessions", { limit: SHOWN }, { value: (found) => ((sessions = found), draw()), error: () => {} }),
  ];
  return {
    node,
    stop() {
      for (const stop of stops) stop();
      for (const { stop } of entries.values()) stop();
    },
  };
}
