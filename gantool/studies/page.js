"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const study = JSON.parse(byId("study").textContent);
  const STORE = "gantool-study-" + study.id;
  const PAUSE = 500; // milliseconds of nothing before each picture
  const main = byId("main");
  const fresh = () => ({ rater: "", started: "", votes: [], views: 0, saved: false });
  let state = load() || fresh();

  // --- what a reload must not lose: kept by the browser for later visits, and, as Chromium may be late with that, by the tab ---

  function load() {
    const found = [history.state, stored()].filter(fits);
    return found.sort((a, b) => b.votes.length - a.votes.length)[0] || null;
  }

  function stored() {
    try {
      return JSON.parse(localStorage.getItem(STORE));
    } catch { // there is no storage, or something else in it
      return null;
    }
  }

  function fits(kept) { // whether it is of this study and unspoilt
    return Array.isArray(kept?.votes) && kept.votes.every((vote, k) => vote?.trial === study.trials[k]?.id);
  }

  function keep() {
    history.replaceState(state, "");
    try {
      localStorage.setItem(STORE, JSON.stringify(state));
    } catch { /* no storage: only a reload can be resumed from, and no later visit */ }
  }

  function forget() {
    history.replaceState(null, "");
    try {
      localStorage.removeItem(STORE);
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

  function fit(images, rows) { // gives all pictures one scale: pixel for pixel, or what the window has room for
    const columns = Math.ceil(images.length / rows);
    const ratio = window.devicePixelRatio || 1;
    const wide = Math.max(...images.map((image) => image.naturalWidth)) * study.enlarged / ratio;
    const high = Math.max(...images.map((image) => image.naturalHeight)) * study.enlarged / ratio;
    const room = [document.documentElement.clientWidth / columns - 32, (window.innerHeight - 120) / rows - 60];
    const scale = Math.min(1, Math.max(room[0], 64) / wide, Math.max(room[1], 64) / high);
    for (const image of images) {
      image.style.width = image.naturalWidth * study.enlarged * scale / ratio + "px";
      image.style.height = image.naturalHeight * study.enlarged * scale / ratio + "px";
      image.className = scale === 1 ? "exact" : "";
    }
    return scale;
  }

  function beside(images, context) { // gives what the results were made from their size; it stands after them, or below
    for (const each of context) {
      each.style.width = images[0].style.width;
      each.style.height = images[0].style.height;
      each.className = "exact";
    }
  }

  async function expose(ms) { // shows the pictures for the whole number of frames nearest to ms; resolves with what it came to
    const first = await frame();
    main.classList.add("shown");
    if (!ms) return null;
    for (let last = first, now = await frame(); ; last = now, now = await frame()) {
      if (now - first + (now - last) / 2 >= ms) {
        main.classList.remove("shown");
        return now - first;
      }
    }
  }

  // --- trials ---

  const ANSWERS = {
    mos: ["1 bad", "2 poor", "3 fair", "4 good", "5 excellent"],
    single: ["1 real", "2 generated"],
  };

  function asButtons(words) {
    return words.map((text) => element("button", text, { type: "button", disabled: true }));
  }

  async function lay(trial) { // puts a trial's pictures in place, hidden; returns them, the scale and the buttons
    const several = trial.pictures.length > 1;
    const images = await Promise.all(trial.pictures.map((id, k) => picture(id, several ? "Picture " + (k + 1) : "The picture")));
    const context = await Promise.all(trial.context.map(([caption, id]) => picture(id, caption)));
    const scale = fit(images, images.length > 4 ? 2 : 1);
    beside(images, context);
    const figures = context.map((image) => element("figure", "", {}, [image, element("figcaption", image.alt)]));
    if (several) {
      const buttons = images.map((image, k) => element("button", "", { type: "button", disabled: true, className: "option" },
        [image, element("span", String(k + 1))]));
      main.replaceChildren(element("div", "", { className: "pictures" }, [...buttons, ...figures]));
      return { images, context, scale, buttons };
    }
    const buttons = asButtons(ANSWERS[study.mode === "mos" ? "mos" : "single"]);
    main.replaceChildren(
      element("div", "", { className: "pictures" }, [...images, ...figures]),
      element("div", "", { className: "answers" }, buttons));
    return { images, context, scale, buttons };
  }

  async function ask(trial) {
    const { images, context, scale, buttons } = await lay(trial);
    await pause(PAUSE);
    state.views += 1;
    keep();
    const shown = await expose(study.exposure);
    if (study.exposure) [...images, ...context].forEach((image) => { image.removeAttribute("src"); });
    const begun = performance.now();
    main.focus({ preventScroll: true });
    const place = await pressed(buttons);
    main.classList.remove("shown");
    return {
      trial: trial.id, choice: study.mode === "mos" ? place + 1 : place, ms: performance.now() - begun, shown, scale,
      views: state.views,
    };
  }

  function verdict(trial, choice) {
    const right = trial.good.includes(choice);
    if (study.mode === "mos") return "This one is an example of " + trial.good[0] + (right ? ", as you say." : ".");
    if (trial.pictures.length > 1) return (right ? "Right: " : "No: ") + "the real one was picture " + (trial.good[0] + 1) + ".";
    return (right ? "Right: " : "No: ") + "it was " + (trial.good[0] ? "generated." : "real.");
  }

  async function feedback(trial, choice, last) {
    const next = element("button", "Go on", { type: "button" });
    main.replaceChildren(element("p", verdict(trial, choice)), next);
    if (last) next.before(element("p", "That was the practice. From now on it counts, and you will not be told."));
    next.focus();
    await new Promise((done) => next.addEventListener("click", done, { once: true }));
    main.replaceChildren();
  }

  function progress() {
    const done = state.votes.length, practice = study.trials.filter((trial) => trial.good).length;
    byId("progress").max = study.trials.length;
    byId("progress").value = done;
    byId("progress-text").textContent = done < practice
      ? "Practice " + (done + 1) + " of " + practice
      : Math.min(done + 1, study.trials.length) - practice + " of " + (study.trials.length - practice);
  }

  async function run() {
    byId("header").hidden = false;
    byId("question").textContent = study.question;
    while (state.votes.length < study.trials.length) {
      const trial = study.trials[state.votes.length];
      progress();
      const vote = await ask(trial);
      state.votes.push(vote);
      state.views = 0;
      keep();
      main.replaceChildren();
      if (trial.good) await feedback(trial, vote.choice, !study.trials[state.votes.length]?.good);
    }
    finish();
  }

  // --- beginning and end ---

  function how() {
    const parts = [study.exposure ? "Pictures are shown for " + study.exposure / 1000 + " s, then you answer." : "Take the time you need."];
    parts.push("Click your answer or type its number. There is no way back.");
    if (study.trials.some((trial) => trial.good)) parts.push("It begins with practice, where you are told the right answer.");
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
      state.rater = state.rater || cleaned(name.value) || anonymous();
      state.started = state.started || new Date().toISOString();
      keep();
      main.replaceChildren();
      run().catch((error) => { byId("status").textContent = "This page cannot go on: " + error.message; });
    });
    main.replaceChildren(element("h1", study.question), element("p", how()), form);
    (again ? go : name).focus();
  }

  const cleaned = (text) => Array.from(text.replace(/[\p{Cc}\p{Cs}]/gu, "").trim()).slice(0, 64).join("");
  const anonymous = () => Array.from(crypto.getRandomValues(new Uint8Array(8)), (n) => n.toString(16).padStart(2, "0")).join("");

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
      format: "gantool-votes", version: 1, study: study.id, rater: state.rater, started: state.started,
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
