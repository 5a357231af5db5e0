/* Reading a mapped file past its end, which another process has moved, raises SIGBUS. While kernels read weights, a handler
   puts a page of zeros in the place of the missing one and notes it: the caller discards the results and reports the file.
   Any other SIGBUS goes to the handler that was there before. */

static _Thread_local int guarded; /* true while this thread may read a mapped file */
static atomic_int torn;           /* pages of zeros since zg_torn */
static struct sigaction before_guard;

static void on_bus_error(int number, siginfo_t *info, void *context) {
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    void *at = (void *)((uintptr_t)info->si_addr / page * page);
    if (guarded && info->si_code == BUS_ADRERR &&
        mmap(at, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED) {
        atomic_fetch_add(&torn, 1);
        return;
    }
    if (before_guard.sa_flags & SA_SIGINFO) before_guard.sa_sigaction(number, info, context);
    else if (before_guard.sa_handler != SIG_DFL && before_guard.sa_handler != SIG_IGN) before_guard.sa_handler(number);
    else sigaction(SIGBUS, &before_guard, NULL); /* the instruction runs again, and ends the process */
}

/* Installs the handler, again if another one has replaced it. */
void zg_guard(void) {
    struct sigaction now, ours = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    if (sigaction(SIGBUS, NULL, &now) || ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == on_bus_error)) return;
    before_guard = now;
    sigemptyset(&ours.sa_mask);
    sigaction(SIGBUS, &ours, NULL);
}

/* Pages that were missing since the last call. */
int zg_torn(void) { return atomic_exchange(&torn, 0); }
