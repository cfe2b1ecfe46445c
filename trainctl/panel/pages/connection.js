// What an open page does by itself, in plain JavaScript in its head, so that it sees the websocket which Bokeh opens later.
//
// It asks its server all the time whether it is there, and within 3 s says that it is not: then nothing on the page can be
// used, and what is shown is grey and has its age. It comes back by itself. A message of the person's that is not answered
// within 2 s is told too. Over a reload it keeps the scroll; the theme it keeps for all pages; what else is shown stands in
// the address.
(() => {
  const EVERY = 600, PATIENCE = 1900, BETWEEN_LOADS = 5000, UNLOADED = 30000, SLEPT = 2000, TIRED = 8000, TOUCHED = 1000;
  const file = () => document.querySelector('script[src*="static/js/bokeh.min.js"]').src;  // below a proxy's path, too
  const here = `trainctl ${location.pathname}`, unanswered = new Map(), sleep = ms => new Promise(done => setTimeout(done, ms));
  let touched = -Infinity;  // when the person did something last: what a plot says by itself needs no answer
  for (const kind of ["pointerdown", "pointerup", "keydown", "input"]) {
    addEventListener(kind, () => { touched = Date.now(); }, {capture: true, passive: true});
  }
  let socket = null, beat = null, answered = Date.now(), isLost = false, isLeaving = false, hasMissed = false;
  let banner = null, late = null, wake = () => {};
  const rest = ms => Promise.race([sleep(ms), new Promise(done => { wake = done; })]);

  const store = (name, value) => {
    try {
      if (value === null) sessionStorage.removeItem(`${here} ${name}`);
      else sessionStorage.setItem(`${here} ${name}`, JSON.stringify(value));
    } catch { /* a full or a forbidden store: not kept */ }
  };
  const stored = name => { try { return JSON.parse(sessionStorage.getItem(`${here} ${name}`)); } catch { return null; } };
  const make = (tag, given, ...children) => {
    const made = Object.assign(document.createElement(tag), given);
    made.append(...children);
    return made;
  };

  // The connection. Bokeh's messages are frames, of which the first has the message's number; a reply names it as reqid.
  const HEADER = /^\{"msgid":"([^"]+)","msgtype":"PATCH-DOC"/;
  window.WebSocket = class extends WebSocket {
    constructor(...given) {
      super(...given);
      this.hasHeard = false;
      socket = this;
      this.addEventListener("message", event => hear(this, event.data));
      this.addEventListener("close", () => { if (socket === this) lose(); });
    }
    send(data) {
      const found = typeof data === "string" && HEADER.exec(data);
      if (found && Date.now() - touched < TOUCHED) unanswered.set(found[1], Date.now());
      super.send(data);
    }
  };
  const hear = (from, data) => {
    from.hasHeard = true;
    if (from !== socket) return;
    answered = Date.now();
    if (beat) { beat.isAnswered = true; beat.done(); }  // whatever it says, it is there
    if (typeof data !== "string" || data.length > 1000 || !data.includes('"reqid"')) return;
    let header = null;
    try { header = JSON.parse(data); } catch { return; }
    unanswered.delete(header.reqid);
  };
  const ask = async () => {  // over the websocket itself: one that is half open answers nothing
    let done;
    const reply = new Promise(resolve => { done = resolve; });
    const asked = beat = {done, isAnswered: false};
    for (const frame of ['{"msgid":"beat","msgtype":"SERVER-INFO-REQ"}', "{}", "{}"]) socket.send(frame);
    const began = Date.now();
    await Promise.race([reply, sleep(PATIENCE)]);
    if (!asked.isAnswered && Date.now() - began > PATIENCE + SLEPT) await Promise.race([reply, sleep(PATIENCE)]);  // it slept
    return asked;
  };
  const isServed = async () => {
    const signal = AbortSignal.timeout(PATIENCE);
    const found = await fetch(file(), {method: "HEAD", cache: "no-store", redirect: "manual", signal}).catch(() => null);
    return !found || found.status >= 500 ? "no" : found.ok ? "yes" : "refused";
  };
  const look = async () => {
    for (;;) {
      if (!isLost && socket && socket.readyState === WebSocket.OPEN && socket.hasHeard) {
        const asked = await ask();
        if (!asked.isAnswered) await wait(asked);
        if (!isLost && banner) hide();
      } else {
        const said = await isServed();
        if (said === "no") { hasMissed = true; show(); }
        if (said === "yes" && banner && !isLost) hide();  // a server that was busy while it made this page
        // what could not be loaded at all has no websocket that could be lost
        if (said === "yes" && (isLost || (hasMissed && !window.Bokeh)) && performance.now() > BETWEEN_LOADS) {
          leave();
          location.reload();
          await sleep(UNLOADED);  // should it not be answered: asking again meanwhile would begin anew
        }
      }
      await rest(document.hidden ? 5 * EVERY : EVERY);
    }
  };
  const wait = async asked => {  // for a server that is late, or for the end of a connection that nobody hears
    show();
    let since = null;
    while (!asked.isAnswered && !isLost) {
      since = await isServed() === "yes" ? since ?? Date.now() : null;
      if (since !== null && Date.now() - since > TIRED) { socket.close(); lose(); }
      await sleep(EVERY);
    }
  };
  const lose = () => { isLost = true; show(); };

  // The banner, and what it switches off.
  const age = () => `${Math.max(0, Math.round((Date.now() - answered) / 1000))} s old`;
  const show = () => {
    if (isLeaving || !document.body) return;
    if (!banner) {
      keepScroll();
      const at = new Date(answered).toLocaleTimeString();
      const said = make("span", {}, `The page's server has not answered since ${at}. Nothing can be changed here. ` +
        "Whether the runs go on is not known to this page; trainctl ls tells. This page comes back when its server " +
        "answers; if that has ended, trainctl panel starts it. ");
      said.setAttribute("role", "alert");
      const old = make("b", {className: "age"}, age());
      banner = make("div", {id: "trainctl-lost"}, said, "What is shown is ", old, ".");
      if (unanswered.size) banner.append(" What you asked for last was not answered: look then whether it was done.");
      document.body.append(banner);
      banner.ticking = setInterval(() => { old.textContent = age(); switchOff(true); }, 1000);
    }
    switchOff(true);
  };
  const hide = () => {
    clearInterval(banner.ticking);
    banner.remove();
    banner = null;
    switchOff(false);
  };
  const switchOff = isOff => {  // again and again while it is off: parts may have been added
    for (const part of document.body.children) if (part !== banner) part.inert = isOff;
    document.documentElement.toggleAttribute("data-lost", isOff);
  };

  // A message that is not answered in time.
  const tellLate = (text, isOver) => {
    const away = make("button", {type: "button", onclick: () => { late.remove(); late = null; }}, "OK");
    late = make("div", {id: "trainctl-late"}, make("span", {}, text), ...(isOver ? [away] : []));
    late.setAttribute("role", "status");
    late.isOver = isOver;
    document.body.append(late);
  };
  setInterval(() => {
    const oldest = Math.min(...unanswered.values());
    if (Date.now() - oldest > PATIENCE && !late && !banner) {
      tellLate("What you asked for has not reached the server yet: it has not answered for 2 s.", false);
    } else if (late && !late.isOver && (banner || !unanswered.size)) {
      late.remove();
      late = null;
    }
  }, 200);

  // What is kept over a reload: the scroll. The parts that are typed into keep their texts themselves.
  const parts = function* (root) {
    for (const part of root.querySelectorAll("*")) {
      yield part;
      if (part.shadowRoot) yield* parts(part.shadowRoot);
    }
  };
  const shown = part => [...part.children].filter(one => !one.matches("style, link, script"));  // these come in any order
  const pathOf = part => {
    const above = part.parentNode;
    if (!above || above === document) return "";
    const at = shown(above).indexOf(part);
    return `${pathOf(above instanceof ShadowRoot ? above.host : above)}${above instanceof ShadowRoot ? "^" : "/"}${at}`;
  };
  const partAt = path => {
    let part = document.documentElement;
    for (const [, sign, at] of path.matchAll(/([/^])(\d+)/g)) {
      const above = sign === "^" ? part.shadowRoot : part;
      part = above && shown(above)[at];
      if (!part) return null;
    }
    return part;
  };
  let isBack = false;  // until then what was kept is still to come
  const keepScroll = () => {
    if (!isBack) return;
    const scrolled = [...parts(document)].filter(part => part.scrollTop > 0 || part.scrollLeft > 0);
    store("scroll", scrolled.slice(0, 50).map(part => [pathOf(part), part.scrollLeft, part.scrollTop]));
  };
  const leave = () => {
    if (!banner) keepScroll();  // else what was lost has been kept
    else if (unanswered.size) store("unanswered", Math.min(...unanswered.values()));
  };
  const scrollBack = async () => {
    let left = performance.getEntriesByType("navigation")[0]?.type === "reload" ? stored("scroll") ?? [] : [];
    const stop = () => { left = []; };
    for (const kind of ["wheel", "touchmove"]) addEventListener(kind, stop, {once: true, passive: true});
    for (let tries = 0; left.length && tries < 100; tries += 1) {
      for (const [path, x, y] of left) partAt(path)?.scrollTo(x, y);
      left = left.filter(([path, x, y]) => {
        const part = partAt(path);
        return !part || Math.abs(part.scrollTop - y) > 2 || Math.abs(part.scrollLeft - x) > 2;
      });
      await sleep(100);
    }
    isBack = true;
  };
  // The theme: what the address says, else what was chosen on any page, else what the system wants.
  const system = matchMedia("(prefers-color-scheme: dark)");
  const remembered = () => { try { return localStorage.getItem("trainctl theme"); } catch { return null; } };
  const chosen = () => new URLSearchParams(location.search).get("theme") ?? remembered();
  const isDark = () => (chosen() ?? (system.matches ? "dark" : "light")) === "dark";
  document.documentElement.toggleAttribute("data-dark", isDark());
  const replace = history.replaceState.bind(history);
  const withTheme = url => {
    const made = new URL(url ?? location.href, location.href), theme = chosen();
    if (theme) made.searchParams.set("theme", theme);
    return made.href;
  };
  // a value that changes is no page to go back to
  history.pushState = history.replaceState = (state, title, url) => replace(state, title, withTheme(url));
  const keepTheme = data => {
    let isOurs = true;
    data.setv({dark_theme: isDark()});
    isOurs = false;
    data.properties.dark_theme.change.connect(() => {
      document.documentElement.toggleAttribute("data-dark", data.dark_theme);
      if (isOurs) return;
      const theme = data.dark_theme ? "dark" : "light";
      try { localStorage.setItem("trainctl theme", theme); } catch { /* for this page only */ }
      const url = new URL(location.href);
      url.searchParams.set("theme", theme);
      replace(history.state, "", url.href);
    });
    system.addEventListener("change", () => {
      if (chosen()) return;
      isOurs = true;
      data.setv({dark_theme: isDark()});
      isOurs = false;
    });
  };

  // By keyboard: `/` goes to the field that filters or searches what is in sight, Enter in a field of the bar applies, Esc
  // discards. The form has its own keys, and comes first.
  const TYPING = "input, textarea, select, [contenteditable], [role=combobox], [role=listbox], [role=menu]";
  const find = (kind, is) => [...parts(document)].find(part => part.matches(kind) && part.checkVisibility() && is(part));
  const named = name => find("button", part => part.textContent.trim() === name && !part.disabled);
  const press = async name => {  // what was typed just before may still be on its way
    for (let tries = 0; !named(name) && tries < 15; tries += 1) await sleep(100);
    named(name)?.click();
  };
  addEventListener("keydown", event => {
    const target = event.composedPath()[0];
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || !(target instanceof Element)) return;
    const isText = target.matches(TYPING);
    const isOfBar = target.matches("input") && event.composedPath().some(part => part.classList?.contains("applies"));
    const filter = event.key === "/" && !isText && find("input[aria-keyshortcuts='/']", () => true);
    if (filter) { filter.focus(); filter.select(); }
    else if (event.key === "Enter" && isOfBar) press("Apply");
    else if (event.key === "Escape" && (isOfBar || !isText) && named("Discard")) press("Discard");
    else return;
    event.preventDefault();
  });

  addEventListener("pagehide", () => { isLeaving = true; leave(); });
  addEventListener("pageshow", event => { if (event.persisted) location.reload(); });
  document.addEventListener("visibilitychange", () => wake());
  addEventListener("online", () => wake());
  const begin = async () => {
    if (chosen()) replace(history.state, "", withTheme());
    while (!window.Bokeh?.documents?.[0]?.roots().length) await sleep(10);
    window.Bokeh.documents[0].config.setv({reconnect_session: false}, {sync: false});  // the page is loaded anew instead
    for (const model of window.Bokeh.documents[0].all_models) {
      if (model.data?.theme_toggle !== undefined && model.data.dark_theme !== undefined) keepTheme(model.data);
    }
    while (!window.Bokeh.documents[0].is_idle) await sleep(50);
    await scrollBack();
  };
  addEventListener("DOMContentLoaded", begin);
  addEventListener("load", () => {
    const lost = stored("unanswered");
    store("unanswered", null);
    if (lost) {
      const at = new Date(lost).toLocaleTimeString();
      tellLate(`The connection was lost before what you asked for at ${at} was answered: look whether it was done.`, true);
    }
    look();
  });
})();
