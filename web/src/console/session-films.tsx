// The recordings of a session, with a player, and its black boxes.

import { useState } from "preact/hooks";

import { fileSize } from "../text";
import { useLoad } from "./load";
import { Action, Await, Empty, Status } from "./parts";
import { artifactAddress } from "./saving";
import { api } from "./state";
import type { Artifact, Recording } from "./types";
import { moment } from "./words";

interface Film {
    readonly id: string;
    readonly title: string;
    readonly status: string;
    readonly at: string | null;
    readonly size: number | null;
    readonly address: string | null;
}

function filmOf(recording: Recording): Film {
    return {
        id: recording.recording_id,
        title: recording.file?.filename ?? "Recording",
        status: recording.status,
        at: recording.began_at ?? recording.file?.modified_at ?? null,
        size: recording.file?.file_size ?? null,
        address: recording.file ? artifactAddress(recording.file.url) : null,
    };
}

function blackBoxOf(artifact: Artifact): Film {
    return {
        id: artifact.artifact_id,
        title: `Black box: ${artifact.file_name}`,
        status: "completed",
        at: artifact.created_at,
        size: artifact.file_size,
        address: artifactAddress(artifact.signed_url),
    };
}

export function FilmsPanel({ path, over }: { path: string; over: boolean }) {
    const films = useLoad(
        async () => {
            const [recordings, artifacts] = await Promise.all([
                api().call<Recording[]>("GET", `${path}/recordings`),
                api().call<Artifact[]>("GET", `${path}/artifacts`),
            ]);
            const boxes = artifacts.filter(({ artifact_type }) => artifact_type === "black_box");
            return [...recordings.map(filmOf), ...boxes.map(blackBoxOf)];
        },
        [path],
        over ? 0 : 3000,
    );
    const [shown, setShown] = useState<string | null>(null);
    return (
        <Await of={films}>
            {(rows) => {
                const running = rows.find(({ status }) => status === "recording");
                const playing = rows.find(({ id, address }) => address !== null && id === shown);
                return (
                    <>
                        {!over && (
                            <p class="row-actions">
                                {running ? (
                                    <Action run={async () => { await api().call("POST", `${path}/recordings/${running.id}/stop`, undefined, 60_000); films.reload(); }} done="The film is being finished.">
                                        Stop recording
                                    </Action>
                                ) : (
                                    <Action kind="button-main" run={async () => { await api().call("POST", `${path}/recordings`, {}); films.reload(); }} done="Recording.">
                                        Start recording
                                    </Action>
                                )}
                            </p>
                        )}
                        {playing?.address && (
                            <figure class="player">
                                <video key={playing.id} src={playing.address} controls autoplay aria-label={playing.title} />
                                <figcaption>
                                    {playing.title} · <a href={playing.address} download={playing.title}>Save the file</a>
                                </figcaption>
                            </figure>
                        )}
                        {rows.length === 0 ? (
                            <Empty title="No recordings">
                                <p>A recording is a film of the screen, as MP4. After a crash or a failed run, the last minute appears here by itself, as a black box.</p>
                            </Empty>
                        ) : (
                            <ul class="plain films">
                                {rows.map((film) => (
                                    <li key={film.id}>
                                        <span>{film.title}</span>
                                        <Status of={film.status} />
                                        <span class="quiet number">{moment(film.at)}{film.size !== null && `, ${fileSize(film.size)}`}</span>
                                        {film.address && (
                                            <button class="button button-small" type="button" aria-pressed={film.id === shown} aria-label={`Play ${film.title}`} onClick={() => setShown(film.id === shown ? null : film.id)}>
                                                {film.id === shown ? "Hide" : "Play"}
                                            </button>
                                        )}
                                    </li>
                                ))}
                            </ul>
                        )}
                    </>
                );
            }}
        </Await>
    );
}
