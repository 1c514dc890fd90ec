// Follows the page's stream, keeps times true, and knows three keys. Pages work without it.
"use strict";
(() => {
  const body = document.body, line = document.getElementById("line"), news = document.getElementById("news");
  const $ = (id) => document.getElementById(id);
  const quiet = 16000; // three beats
  let source, last, watch, pause = 1000, late = null;

  const say = (state, text) => {
    if (!line || line.dataset.state === state) return;
    line.dataset.state = state;
    line.textContent = text;
  };
  const fragment = (html) => {
    const holder = document.createElement("template");
    holder.innerHTML = html;
    return holder.content;
  };
  const announce = (text) => { if (news) news.textContent = text; };

  const held = (row) => row.contains(document.activeElement) && document.activeElement.getAttribute("href");
  const put = (rows, change) => {
    const focused = change.focused;
    const row = fragment(change.html).firstElementChild;
    if (!row) return;
    row.classList.add("fresh");
    rows.insertBefore(row, rows.children[change.place] || null);
    if (focused) row.querySelector(`a[href="${CSS.escape(focused)}"], a`)?.focus();
  };
  const settle = () => {
    const rows = $("rows"), none = $("none");
    if (none && rows) none.hidden = rows.children.length > 0;
    times();
  };
  const heard = {
    rows(data) {
      const rows = $("rows");
      if (!rows) return;
      const held_ = {};
      for (const key of data.gone) {
        const row = rows.querySelector(`[data-key="${key}"]`);
        if (!row) continue;
        held_[key] = held(row);
        row.remove();
      }
      for (const change of data.put) put(rows, { ...change, focused: held_[change.key] });
      const added = data.put.filter((change) => change.new).map((change) => change.name);
      if (added.length) announce("New: " + added.slice(0, 3).join(", "));
      settle();
    },
    all(data) {
      const rows = $("rows");
      if (rows) rows.replaceChildren(fragment(data.html));
      settle();
    },
    region(data) {
      const old = $(data.id), fresh = fragment(data.html);
      // What somebody is working in stays as it is.
      if (!old || old.contains(document.activeElement) || old.querySelector("[data-touched]")) return;
      old.replaceWith(fresh);
      times();
    },
    state(data) { data === "live" ? say("live", "Live") : say("lost", "Reconnecting…"); },
    end(data) {
      source.close();
      clearTimeout(watch);
      last = undefined;
      if (data === "signed-out") {
        say("over", "Signed out");
        location.reload();
      } else retry();
    },
    place() {},
  };

  const retry = () => {
    source?.close();
    clearTimeout(watch);
    clearTimeout(late);
    say("lost", "Reconnecting…");
    late = setTimeout(open, pause * (0.5 + Math.random()));
    pause = Math.min(pause * 2, 10000);
  };
  const alive = () => {
    clearTimeout(watch);
    watch = setTimeout(retry, quiet);
  };
  function open() {
    let url = body.dataset.live;
    if (last) url = url.replace(/([?&])from=[^&]*/, "$1") + "&from=" + encodeURIComponent(last);
    source = new EventSource(url);
    source.onerror = retry;
    for (const kind of Object.keys(heard))
      source.addEventListener(kind, (event) => {
        pause = 1000;
        alive();
        if (event.lastEventId) last = event.lastEventId;
        heard[kind](JSON.parse(event.data));
      });
    alive();
  }

  const rough = (ms) => {
    const minutes = Math.floor(Math.abs(ms) / 60000);
    if (!minutes) return "now";
    const text = minutes < 120 ? `${minutes} min` : minutes < 2880 ? `${Math.floor(minutes / 60)} h` : `${Math.floor(minutes / 1440)} d`;
    return ms < 0 ? `${text} ago` : `in ${text}`;
  };
  function times() {
    for (const time of document.querySelectorAll("time[datetime]")) {
      const date = new Date(time.dateTime);
      if (isNaN(date)) continue;
      if ("far" in time.dataset) time.textContent = rough(date - Date.now());
      else if (!time.dataset.local) {
        const two = (n) => String(n).padStart(2, "0");
        time.textContent = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}`;
        time.dataset.local = "1";
      }
    }
  }

  document.addEventListener("input", (event) => event.target.setAttribute("data-touched", ""));
  document.addEventListener("submit", (event) => {
    // A second click must not send a form twice; were it sent, its id would keep it from being done twice.
    setTimeout(() => event.target.querySelectorAll("button").forEach((button) => (button.disabled = true)));
  });
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) document.querySelectorAll("button:disabled").forEach((button) => (button.disabled = false));
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
    const wanted = document.querySelector(`[data-focus="${CSS.escape(event.key)}"]`);
    if (wanted) {
      event.preventDefault();
      wanted.focus();
    } else if (event.key === "j" || event.key === "k") {
      const links = [...document.querySelectorAll("#rows tr")].map((row) => row.querySelector("a")).filter(Boolean);
      const at = links.findIndex((link) => link.closest("tr").contains(document.activeElement));
      links[Math.max(0, Math.min(links.length - 1, at + (event.key === "j" ? 1 : -1)))]?.focus();
    }
  });

  times();
  setInterval(times, 30000);
  if (body.dataset.live) open();
})();
