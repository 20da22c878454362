from pipeline.annotate import smoothness

# The page's own promise, which `make bench` measures: 60 frames/s, no task above 50 ms, p95 of a swap <= 50 ms. Here
# other work shares the machine, and a test must not fail for that.
LEAST_FPS = 30
LONGEST_TASK_MS = 150
SLOWEST_SWAP_MS = 100


def test_drawing_over_500_frames_of_three_cameras_stays_smooth(make_store, serve, sign_in):
    store = make_store(1, 500, ("basket_front_left", "basket_front_right", "wrist"), (128, 128))
    page = sign_in(serve(store))
    page.wait_for_selector(".viewer[data-shown]")
    smoothness.prefetch(page)
    measured = smoothness.measure_stroke(page)
    print(measured)
    assert measured.swaps > 60
    assert measured.frames_per_second > LEAST_FPS, measured
    assert max(measured.long_tasks, default=0) <= LONGEST_TASK_MS, measured
    assert measured.swap_p95_ms <= SLOWEST_SWAP_MS, measured


def test_the_next_episode_is_ready_before_it_is_opened(make_store, serve, sign_in):
    page = sign_in(serve(make_store(2)))
    page.wait_for_selector(".viewer[data-shown]")
    title = page.locator(".sketch-title h1")
    current = title.text_content()
    other = {"fake-0": "fake-1", "fake-1": "fake-0"}[current]
    page.wait_for_function(  # of the browser's own record, which knows what was loaded before anyone listened
        "other => performance.getEntriesByType('resource').some((e) => e.name.includes(`${other}/film`))", arg=other
    )
    assert title.text_content() == current
