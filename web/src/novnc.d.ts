/** The part of noVNC's interface that the view page uses; the package ships no types. */
declare module "@novnc/novnc" {
    interface RfbOptions {
        shared?: boolean;
        credentials?: { username?: string; password?: string; target?: string };
        wsProtocols?: string[];
    }

    interface RfbEvents {
        connect: CustomEvent<Record<string, never>>;
        disconnect: CustomEvent<{ clean: boolean }>;
        securityfailure: CustomEvent<{ status: number; reason?: string }>;
        desktopname: CustomEvent<{ name: string }>;
    }

    export default class RFB {
        constructor(target: HTMLElement, urlOrChannel: string | WebSocket, options?: RfbOptions);
        viewOnly: boolean;
        scaleViewport: boolean;
        clipViewport: boolean;
        resizeSession: boolean;
        focusOnClick: boolean;
        showDotCursor: boolean;
        background: string;
        qualityLevel: number;
        compressionLevel: number;
        addEventListener<K extends keyof RfbEvents>(
            kind: K,
            listener: (event: RfbEvents[K]) => void,
        ): void;
        disconnect(): void;
        focus(options?: FocusOptions): void;
        blur(): void;
        sendKey(keysym: number, code: string | null, down?: boolean): void;
        clipboardPasteFrom(text: string): void;
    }
}
