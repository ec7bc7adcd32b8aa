// The files of a session: downloads, and uploads for its browser; after its end, its artifacts.

import { useRef, useState } from "preact/hooks";

import { fileSize } from "../text";
import { useLoad } from "./load";
import { Action, Await, Icon, Table } from "./parts";
import { artifactAddress, saveBlob } from "./saving";
import { api, notify } from "./state";
import type { Artifact, SessionFile } from "./types";
import { moment } from "./words";

export function FilesPanel({ path, over }: { path: string; over: boolean }) {
    return (
        <>
            {!over && <LiveFiles path={path} />}
            <h2>Artifacts</h2>
            <ArtifactList path={`${path}/artifacts`} every={over ? 0 : 8000} />
        </>
    );
}

function LiveFiles({ path }: { path: string }) {
    const files = useLoad(() => api().call<SessionFile[]>("GET", `${path}/files`), [path], 5000);
    const field = useRef<HTMLInputElement>(null);
    const [part, setPart] = useState<number | null>(null);
    const id = decodeURIComponent(path.split("/").at(-1) ?? "");
    const upload = async (chosen: FileList | null) => {
        for (const file of chosen ?? []) {
            setPart(0);
            try {
                await api().upload(id, file, new AbortController().signal, setPart);
                notify(`${file.name} is in the session.`);
            } catch (cause) {
                notify(cause instanceof Error ? cause.message : String(cause), true);
            }
        }
        setPart(null);
        files.reload();
    };
    const at = (file: SessionFile) => `${path}/files/${encodeURIComponent(file.folder)}/${encodeURIComponent(file.name)}`;
    return (
        <>
            <h2>In the browser</h2>
            <p class="row-actions">
                <input ref={field} class="sr" type="file" multiple tabIndex={-1} aria-label="Files to upload" onChange={({ currentTarget }) => void upload(currentTarget.files)} />
                <button class="button button-small" type="button" onClick={() => field.current?.click()}>
                    <Icon name="plus" /> Upload files
                </button>
                <Action kind="button-small" run={async () => saveBlob(await api().blob(`${path}/files.zip`), `${id}.zip`)}>
                    All as ZIP
                </Action>
                {part !== null && <progress value={part} max={1} aria-label="Upload" />}
            </p>
            <Await of={files}>
                {(rows) =>
                    rows.length === 0 ? (
                        <p class="quiet">No downloads and no uploads. What pages download is listed here at once.</p>
                    ) : (
                        <Table label="Files of the session" columns={["Name", "Folder", "Size", "Changed", ""]}>
                            {rows.map((file) => (
                                <tr key={`${file.folder}/${file.name}`}>
                                    <td class="cell-main">{file.name}{!file.complete && <span class="quiet"> (downloading)</span>}</td>
                                    <td>{file.folder}</td>
                                    <td class="number">{fileSize(file.file_size)}</td>
                                    <td class="number">{moment(file.modified_at)}</td>
                                    <td class="row-actions">
                                        <Action kind="button-small" label={`Save ${file.name}`} run={async () => saveBlob(await api().blob(at(file)), file.name)}>Save</Action>
                                        <Action kind="button-small" label={`Delete ${file.name}`} confirm={`${file.name} is removed from the session.`} run={async () => { await api().call("DELETE", at(file)); files.reload(); }}>Delete</Action>
                                    </td>
                                </tr>
                            ))}
                        </Table>
                    )
                }
            </Await>
        </>
    );
}

/** The artifacts at a path, each with a link that needs no key. */
export function ArtifactList({ path, every = 0 }: { path: string; every?: number }) {
    const artifacts = useLoad(() => api().call<Artifact[]>("GET", path), [path], every);
    return (
        <Await of={artifacts}>
            {(rows) =>
                rows.length === 0 ? (
                    <p class="quiet">No artifacts yet: screenshots, downloads and films are kept here, also after the session.</p>
                ) : (
                    <Table label="Artifacts" columns={["Name", "Kind", "Size", "Made"]}>
                        {rows.map((artifact) => (
                            <tr key={artifact.artifact_id}>
                                <td>
                                    <a class="cell-main" href={artifactAddress(artifact.signed_url)} target="_blank" rel="noopener">{artifact.file_name}</a>
                                </td>
                                <td>{artifact.artifact_type.replaceAll("_", " ")}</td>
                                <td class="number">{fileSize(artifact.file_size)}</td>
                                <td class="number">{moment(artifact.created_at)}</td>
                            </tr>
                        ))}
                    </Table>
                )
            }
        </Await>
    );
}
