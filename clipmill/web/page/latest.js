// Questions that follow each other faster than they are answered: only the newest one waits.

/** A function that runs `ask({signal})`, and once more when it was called in the meantime. */
export function latest(ask, signal) {
  let running = false;
  let waiting = false;
  return async function again() {
    if (signal.aborted) return;
    if (running) {
      waiting = true;
      return;
    }
    running = true;
    try {
      do {
        waiting = false;
        await ask({ signal });
      } while (waiting && !signal.aborted);
    } finally {
      running = false;
    }
  };
}
