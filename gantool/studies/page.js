"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const study = JSON.parse(byId("study").textContent);
  const STORE = "gantool-study-" + study.id;
  const PAUSE = 500; // milliseconds of nothing before each picture
  const PROBE = 64; // pixels of the screen that pictures have while all else is measured
  const IN_TURN = study.mode === "real-fake" && study.exposure > 0; // two pictures come one after the other
  const main = byId("main");
  const random = () => Array.from(crypto.getRandomValues(new Uint8Array(8)), (n) => n.toString(16).padStart(2, "0")).join("");
  const fresh = () => ({ session: random(), rater: "", started: "", votes: [], views: 0, saved: false });
  let state = load() || fresh();

  // --- what a reload must not lose: kept by the browser for later visits, and, as Chromium may be late with that, by the tab ---

  function load() { // what this tab had, unless the same session went on elsewhere; raters are never mixed
    const [here, kept] = [history.state, stored()].map((found) => (fits(found) ? found : null));
    if (!here || !kept) return here || kept;
    return kept.session === here.session && kept.votes.length > here.votes.length ? kept : here;
  }

  function stored() {
    try {
      return JSON.parse(localStorage.getItem(STORE));
    } catch { // there is no storage, or something else in it
      return null;
    }
  }

  function fits(kept) { // whether it is of this study and unspoilt
    if (typeof kept?.session !== "string" || !Array.isArray(kept.votes)) return false;
    return kept.votes.every((vote, k) => vote?.trial === study.trials[k]?.id);
  }

  function keep() {
    for (const write of [() => history.replaceState(state, ""), () => localStorage.setItem(STORE, JSON.stringify(state))]) {
      try {
        write();
      } catch { /* no room for it: a reload, or a later visit, cannot be resumed from */ }
    }
  }

  function forget() {
    try {
      history.replaceState(null, "");
      if (stored()?.session === state.session) localStorage.removeItem(STORE); // another tab's stays
    } catch { /* there was nothing */ }
    state = fresh();
    start();
  }

  // --- pieces of the page; all text is set as text ---

  function element(name, text, properties = {}, children = []) {
    const made = document.createElement(name);
    if (text) made.textContent = text;
    Object.assign(made, properties);
    made.append(...children);
    return made;
  }

  const pause = (ms) => new Promise((done) => setTimeout(done, ms));
  const frame = () => new Promise((done) => requestAnimationFrame(done));

  function pressed(buttons) { // resolves with the place of the button that was clicked, or whose number was typed
    return new Promise((done) => {
      const end = (place) => {
        document.removeEventListener("keydown", typed);
        buttons.forEach((button) => { button.disabled = true; });
        done(place);
      };
      const typed = (event) => {
        if (event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
        let place = "123456789".indexOf(event.key);
        if (buttons.length === 2 && event.key === "ArrowLeft") place = 0;
        if (buttons.length === 2 && event.key === "ArrowRight") place = 1;
        if (place >= 0 && place < buttons.length) end(place);
      };
      buttons.forEach((button, place) => {
        button.disabled = false;
        button.addEventListener("click", () => end(place));
      });
      document.addEventListener("keydown", typed);
    });
  }

  // --- pictures ---

  async function picture(id, alt) {
    const image = element("img", "", { alt, draggable: false });
    image.src = "data:image/png;base64," + byId(id).textContent;
    await image.decode(); // nothing is shown before all of it can be
    return image;
  }

  function fit(grid, pictures, atOnce) { // gives all pictures one scale: pixel for pixel, or what the window has room for
    const ratio = window.devicePixelRatio || 1;
    const resize = (wide, high) => pictures.forEach((each) => {
      each.image.style.width = each.wide * wide + "px";
      each.image.style.height = each.high * high + "px";
    });
    const wide = Math.max(...pictures.map((each) => each.wide)) / ratio;
    const high = Math.max(...pictures.map((each) => each.high)) / ratio;
    let best = { scale: 0, columns: 1 };
    for (let columns = Math.min(2, atOnce); columns <= grid.children.length; columns += 1) { // two options are side by side
      const rows = Math.ceil(grid.children.length / columns);
      grid.style.gridTemplateColumns = `repeat(${columns}, auto)`;
      resize(PROBE / wide / ratio, PROBE / high / ratio);
      const across = document.documentElement.clientWidth - grid.getBoundingClientRect().width - 24 + columns * PROBE;
      const down = window.innerHeight - document.body.getBoundingClientRect().height + rows * PROBE;
      const scale = Math.min(1, (across - 1) / columns / wide, (down - 1) / rows / high);
      if (scale >= best.scale) best = { scale, columns };
    }
    const scale = Math.max(best.scale, 8 / Math.max(wide, high)); // of windows that have room for nothing
    grid.style.gridTemplateColumns = `repeat(${best.columns}, auto)`;
    resize(scale / ratio, scale / ratio);
    pictures.forEach((each) => { each.image.className = scale === 1 || each.context ? "exact" : ""; });
    return scale;
  }

  async function expose(ms) { // shows pictures for the whole number of frames nearest to ms; resolves with what it came to
    const first = await frame();
    main.classList.add("shown");
    if (!ms) return { shown: null, interrupted: false };
    let hidden = 0; // when the window was, if it was: nobody saw pictures then, nor do they come back
    const hide = () => {
      if (!document.hidden || hidden) return;
      hidden = performance.now();
      main.classList.remove("shown");
    };
    document.addEventListener("visibilitychange", hide);
    hide();
    for (let last = first, now = await frame(); ; last = now, now = await frame()) {
      if (hidden || now - first + (now - last) / 2 >= ms) {
        main.classList.remove("shown");
        document.removeEventListener("visibilitychange", hide);
        return { shown: Math.max(0, (hidden || now) - first), interrupted: hidden > 0 };
      }
    }
  }

  async function exposeAll(images) { // all at once, or one after the other; resolves with the time that is most off
    let worst = { shown: study.exposure || null, interrupted: false };
    const off = (time) => Math.abs(time - study.exposure);
    for (const image of IN_TURN ? images : [null]) {
      images.forEach((each) => { each.hidden = image !== null && each !== image; });
      if (image !== null && image !== images[0]) await pause(PAUSE);
      const found = await expose(study.exposure);
      const interrupted = worst.interrupted || found.interrupted;
      worst = { ...(off(found.shown) >= off(worst.shown) ? found : worst), interrupted };
    }
    return worst;
  }

  // --- trials ---

  const ANSWERS = {
    mos: ["1 bad", "2 poor", "3 fair", "4 good", "5 excellent"],
    single: ["1 real", "2 generated"],
    turns: ["1 the first", "2 the second"],
  };

  function asButtons(words) {
    return words.map((text) => element("button", text, { type: "button", disabled: true }));
  }

  async function pictures(ids, context) { // all of a trial, decoded; those of context get the options' size
    const several = ids.length > 1;
    const images = await Promise.all(ids.map((id, k) => picture(id, several ? "Picture " + (k + 1) : "The picture")));
    const more = await Promise.all(context.map(([caption, id]) => picture(id, caption)));
    const size = (image) => ({ wide: image.naturalWidth * study.enlarged, high: image.naturalHeight * study.enlarged });
    return [
      ...images.map((image) => ({ image, ...size(image), context: false })),
      ...more.map((image) => ({ image, ...size(images[0]), context: true })),
    ];
  }

  const captioned = (image, text) => element("figure", "", {}, [image, element("figcaption", text)]);

  function put(cells, all, atOnce, ...below) { // shows a grid that fits the window as long as `stop` has not been called
    const grid = element("div", "", { className: "pictures" }, cells);
    main.replaceChildren(grid, ...below);
    window.scrollTo(0, 0);
    const laid = { scale: fit(grid, all, atOnce), stop: () => window.removeEventListener("resize", again) };
    const again = () => { laid.scale = fit(grid, all, atOnce); };
    window.addEventListener("resize", again);
    return laid;
  }

  async function lay(trial) { // puts a trial's pictures in place, hidden
    const all = await pictures(trial.pictures, trial.context);
    const images = all.filter((each) => !each.context).map((each) => each.image);
    const figures = all.filter((each) => each.context).map((each) => captioned(each.image, each.image.alt));
    if (images.length > 1 && !IN_TURN) {
      const buttons = images.map((image, k) => element("button", "", { type: "button", disabled: true, className: "option" },
        [image, element("span", String(k + 1))]));
      return { all, images, buttons, laid: put([...buttons, ...figures], all, images.length) };
    }
    const buttons = asButtons(ANSWERS[study.mode === "mos" ? "mos" : images.length > 1 ? "turns" : "single"]);
    const place = element("div", "", { className: "turns" }, images);
    const answers = element("div", "", { className: "answers" }, buttons);
    return { all, images, buttons, laid: put([place, ...figures], all, 1, answers) };
  }

  async function ask(trial) {
    const { all, images, buttons, laid } = await lay(trial);
    await pause(PAUSE);
    state.views += 1;
    keep();
    if (study.exposure) laid.stop(); // the pictures stay in their places while they are shown, and then they are gone
    const { shown, interrupted } = await exposeAll(images);
    if (study.exposure) all.forEach((each) => { each.image.removeAttribute("src"); });
    const begun = performance.now();
    main.focus({ preventScroll: true });
    const place = await pressed(buttons);
    laid.stop();
    main.classList.remove("shown");
    return {
      trial: trial.id, choice: study.mode === "mos" ? place + 1 : place, ms: performance.now() - begun, shown,
      scale: laid.scale, views: state.views, interrupted,
    };
  }

  // --- practice ---

  async function tell(trial, words, captions, last) { // shows pictures with what they are, for as long as it takes
    const all = await pictures(trial.pictures, []);
    const next = element("button", "Go on", { type: "button" });
    const text = element("p", words + (last ? " " + LAST : ""));
    const cells = all.map((each, k) => captioned(each.image, captions[k]));
    main.classList.add("shown");
    const laid = put(cells, all, all.length, text, next);
    next.focus();
    await new Promise((done) => next.addEventListener("click", done, { once: true }));
    laid.stop();
    main.classList.remove("shown");
    main.replaceChildren();
    return laid.scale;
  }

  const LAST = "Now the questions begin that count, and you will not be told any more.";

  async function example(trial, last) { // an anchor of the scale: nobody is to guess what it is
    const begun = performance.now();
    state.views += 1;
    keep();
    const scale = await tell(trial, "This is an example of " + trial.good[0] + ".", [ANSWERS.mos[trial.good[0] - 1]], last);
    return {
      trial: trial.id, choice: trial.good[0], ms: performance.now() - begun, shown: null, scale, views: state.views,
      interrupted: false,
    };
  }

  function feedback(trial, choice, last) {
    const several = trial.pictures.length > 1;
    const real = (k) => (several ? trial.good.includes(k) : trial.good[0] === 0);
    const captions = trial.pictures.map((_, k) => (several ? k + 1 + ": " : "") + (real(k) ? "Real" : "Generated"));
    return tell(trial, trial.good.includes(choice) ? "Right." : "Wrong.", captions, last);
  }

  function progress() {
    const done = state.votes.length, practice = study.trials.filter((trial) => trial.good).length;
    byId("progress").max = study.trials.length;
    byId("progress").value = done;
    byId("progress-text").textContent = done < practice
      ? (study.mode === "mos" ? "Example " : "Practice ") + (done + 1) + " of " + practice
      : Math.min(done + 1, study.trials.length) - practice + " of " + (study.trials.length - practice);
  }

  async function run() {
    byId("header").hidden = false;
    byId("question").textContent = study.question;
    while (state.votes.length < study.trials.length) {
      const trial = study.trials[state.votes.length];
      const last = !study.trials[state.votes.length + 1]?.good;
      progress();
      const vote = trial.good && study.mode === "mos" ? await example(trial, last) : await ask(trial);
      state.votes.push(vote);
      state.views = 0;
      keep();
      main.replaceChildren();
      if (trial.good && study.mode !== "mos") await feedback(trial, vote.choice, last);
    }
    finish();
  }

  // --- beginning and end ---

  function how() {
    const turns = IN_TURN && study.trials[0].pictures.length > 1 ? ", one after the other" : "";
    const shown = "Pictures are shown for " + study.exposure / 1000 + " s" + turns + ", then you answer.";
    const parts = [study.exposure ? shown : "Take the time you need."];
    parts.push("Click your answer or type its number. There is no way back.");
    const practice = study.mode === "mos" ? "examples of scores." : "practice, where you are told the right answer.";
    if (study.trials.some((trial) => trial.good)) parts.push("It begins with " + practice);
    parts.push("A reload of this page goes on where you were. At the end you save a file and hand it to whoever asked you.");
    return parts.join(" ");
  }

  function start() {
    const again = state.rater !== "";
    const name = element("input", "", { id: "rater", maxLength: 64, value: state.rater, readOnly: again, autocomplete: "off" });
    const go = element("button", again ? "Go on" : "Begin", { type: "submit", id: "begin" });
    const form = element("form", "", {}, [
      element("p", "", {}, [element("label", "Your name or number, or nothing: ", { htmlFor: "rater" }), name]), go]);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      state.rater = state.rater || cleaned(name.value) || random();
      state.started = state.started || new Date().toISOString();
      keep();
      main.replaceChildren();
      run().catch((error) => { byId("status").textContent = "This page cannot go on: " + error.message; });
    });
    main.replaceChildren(element("h1", study.question), element("p", how()), form);
    if (again) {
      const other = element("button", "Begin as someone else", { type: "button", id: "other" });
      other.addEventListener("click", forget);
      main.append(element("p", "", {}, [other]));
    }
    (again ? go : name).focus();
  }

  const cleaned = (text) => Array.from(text.replace(/[\p{Cc}\p{Cs}]/gu, "").trim()).slice(0, 64).join("");

  function finish() {
    byId("header").hidden = true;
    const save = element("button", "Save the votes", { type: "button", id: "save" });
    const next = element("button", "Next rater", { type: "button", id: "next", disabled: !state.saved });
    save.addEventListener("click", () => {
      download();
      state.saved = true;
      keep();
      next.disabled = false;
    });
    next.addEventListener("click", forget);
    main.replaceChildren(element("h1", "Thank you"), element("p", "Save your votes and hand in the file."), save, " ", next);
    save.focus();
  }

  function download() {
    const screen = { width: window.screen.width, height: window.screen.height, ratio: window.devicePixelRatio || 1 };
    const votes = {
      format: "gantool-votes", version: 1, study: study.id, session: state.session, rater: state.rater, started: state.started,
      ended: new Date().toISOString(), screen, votes: state.votes,
    };
    const address = URL.createObjectURL(new Blob([JSON.stringify(votes)], { type: "application/json" }));
    const name = "votes-" + study.id + "-" + state.rater.replace(/[^A-Za-z0-9_-]/g, "_").slice(0, 32) + ".json";
    element("a", "", { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60000);
  }

  if (state.votes.length && state.votes.length === study.trials.length) finish();
  else start();
})();
